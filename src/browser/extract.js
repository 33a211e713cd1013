async (o) => {
  const doc = document;
  // Asked of the prototypes, because an element named like a property hides that of the document.
  const own = (prototype, name) => Object.getOwnPropertyDescriptor(prototype, name).get.call(doc);
  const of = (name) => own(Document.prototype, name);
  const all = (selector) => Document.prototype.querySelectorAll.call(doc, selector);
  // The page's hook, in the page's own world, answers on an object that both worlds share.
  const ask = () => {
    let answer = null;
    const take = (event) => { answer = event.detail; };
    performance.addEventListener(o.key + 'a', take);
    performance.dispatchEvent(new CustomEvent(o.key + 'q'));
    performance.removeEventListener(o.key + 'a', take);
    if (typeof answer !== 'string') return null;
    const [pending, frames, demand, posted] = answer.split(',').map(Number);
    return { pending, frames, demand, posted };
  };
  const has = (selector) => Document.prototype.querySelector.call(doc, selector) !== null;
  // What needs frames to be drawn, as bits; listeners count only beside what they listen for.
  const demandOf = (noted) => {
    let demand = noted?.demand ?? 0;
    if (!has('img[loading=lazy]')) demand &= ~2048;
    else if (has('img[loading=lazy][onload],img[loading=lazy][onerror]')) demand |= 2048;
    if (![...all('iframe,frame')].some((frame) => frame.contentDocument === null)) demand &= ~1024;
    if (has('iframe[loading=lazy]')) demand |= 4096;
    // Frameworks listen for the ends of effects whether there are any or not.
    const moved = (demand & 8192) !== 0 || Document.prototype.getAnimations.call(doc).length > 0;
    if (moved && has('[onanimationend],[onanimationstart],[onanimationiteration],[ontransitionend],[ontransitionrun],[ontransitionstart]')) demand |= 64;
    return demand & ~8192 & (moved ? -1 : ~64);
  };
  // Effects that end soon, when somebody may wait for their end.
  const moving = () => Document.prototype.getAnimations.call(doc).slice(0, 100).some((effect) => {
    const end = effect.effect?.getComputedTiming().endTime;
    return effect.playState === 'running' && typeof end === 'number' && end - effect.currentTime <= 1000;
  });
  // What is loaded lazily, is near enough to be loaded, and is not yet.
  const lazy = () => [...all('img[loading=lazy],iframe[loading=lazy]')].slice(0, 50).filter((element) => {
    const open = element.localName === 'img' ? !element.complete : element.contentDocument?.URL === 'about:blank';
    return open && element.getBoundingClientRect().top < innerHeight + 1000;
  });
  // A page is read when the work that its scripts began has ended and its document has been quiet for a
  // moment; each within its bound. Says whether it came to that. Without frames, a page that asks for them
  // is not waited for: it will be loaded again.
  const settle = async () => {
    const began = performance.now();
    let [changed, calm, awaited, wake] = [began, began, 0, () => {}];
    const known = new Set();
    const wait = (element, ms = o.loadMs) => {
      if (known.has(element) || known.size >= 100) return;
      known.add(element);
      let open = true;
      const over = () => { if (open) { open = false; awaited--; changed = performance.now(); wake(); } };
      awaited++;
      for (const type of ['load', 'error']) element.addEventListener(type, over, { once: true });
      setTimeout(over, ms);
    };
    // Scripts that were added while the page loaded, as long as nothing says that their answer came.
    const answered = performance.getEntriesByType('resource').map((entry) => entry.name);
    for (const element of answered.length < 250 ? [...all('script[src]:not([nomodule])')].slice(-100) : []) {
      const runs = ['', 'module', 'text/javascript', 'application/javascript'].includes(element.type);
      if (runs && /^https?:/.test(element.src) && !answered.includes(element.src)) wait(element, o.loadMs / 2);
    }
    // Frames that were added after the page had loaded.
    for (const frame of all('iframe[src]:not([loading=lazy])')) {
      const inner = frame.contentDocument;
      const begun = inner && (inner.readyState !== 'complete' || (inner.URL === 'about:blank' && /^https?:/.test(frame.src)));
      if (begun) wait(frame, o.loadMs / 2);
    }
    const observer = new MutationObserver((records) => {
      changed = performance.now();
      for (const record of records) {
        for (const node of record.addedNodes) {
          if (node.localName === 'script' && node.src) wait(node);
          else if (node.localName === 'iframe') wait(node);
          else if (node.childElementCount > 0) node.querySelectorAll('iframe').forEach((frame) => wait(frame));
        }
      }
    });
    observer.observe(doc, { childList: true, subtree: true, characterData: true });
    const idle = () => { changed = performance.now(); wake(); };
    performance.addEventListener(o.key + 'i', idle);
    const sleep = (ms) => new Promise((done) => { wake = done; setTimeout(done, ms); });
    try {
      for (;;) {
        const noted = ask();
        // Where no script runs nothing is waited for, and timers of ours would not fire.
        if (o.still || (noted === null && (o.hooked || self.origin === 'null'))) return true;
        const demand = demandOf(noted);
        if (o.frameless && demand !== 0 && noted?.posted !== 1) return true;
        let busy = (noted?.pending ?? 0) > 0;
        if (!o.frameless && demand !== 0) {
          if (demand & 6144) lazy().forEach(wait);
          busy ||= (noted?.frames ?? 0) > 0 || ((demand & 80) !== 0 && moving());
        }
        busy ||= awaited > 0;
        const now = performance.now();
        if (busy) changed = calm = now;
        // A message from a frame of another origin comes unannounced.
        const rest = changed + o.quietMs * (demand & 1024 ? 20 : 1) - now;
        if (busy ? now - began >= o.busyMs : rest <= 0) return !busy;
        if (!busy && now - calm >= o.quietBoundMs) return true;
        await sleep(busy ? Math.min(100, began + o.busyMs - now + 1) : rest);
      }
    } finally {
      observer.disconnect();
      performance.removeEventListener(o.key + 'i', idle);
    }
  };
  const settled = await settle();
  let truncated = false;
  // Half a surrogate pair is not text: whole pairs only, whether the page or the cut broke them.
  const cut = (text, max) => {
    if (text.length > max) { truncated = true; text = text.slice(0, max); }
    return text.toWellFormed();
  };
  const links = [];
  const seen = new Set();
  // A client-side route, where those are pages of their own.
  const isRoute = (hash) => o.routes && /^#!?\/./.test(hash);
  const add = (href) => {
    if (typeof href !== 'string' || href === '') return;
    if (!/^https?:/i.test(href)) return;
    const hash = href.indexOf('#');
    const bare = hash < 0 || isRoute(href.slice(hash)) ? href : href.slice(0, hash);
    if (seen.has(bare)) return;
    if (links.length >= o.maxLinks) { truncated = true; return; }
    if (bare.length > 65536) return;
    seen.add(bare);
    links.push(bare);
  };
  const base = own(Node.prototype, 'baseURI') || '';
  const absolute = (text) => { try { return new URL(text, base).href; } catch { return ''; } };
  let nofollow = false;
  const rels = new Set(['canonical', 'next', 'prev', 'previous', 'alternate']);
  const { getAttribute } = Element.prototype;
  const attribute = (e, name) => getAttribute.call(e, name);
  const here = (of('URL') || '').split('#')[0];
  const localName = Object.getOwnPropertyDescriptor(Element.prototype, 'localName').get;
  const nameOf = (e) => localName.call(e);
  const [code, srcsets, posts] = [[], [], []];
  const keep = (list, value) => { if (value && list.length < 1000 && value.length <= 16384) list.push(value); };
  const gets = (method) => !['post', 'dialog'].includes((method || '').trim().toLowerCase());
  const resources = {
    img: ['src'], source: ['src'], video: ['src', 'poster'], audio: ['src'], track: ['src'], embed: ['src'],
    object: ['data'], script: ['src'], input: ['src'], image: ['href', 'xlink:href'], body: ['background'],
  };
  // What an element of this document, or of one within an attribute of it, refers to.
  const refer = (e, absolute) => {
    const name = nameOf(e);
    const named = (name) => {
      const value = attribute(e, name);
      // A place in this document is no link, unless a base makes it one in another.
      if (!value || (/^\s*(#|$)/.test(value) && base.split('#')[0] === here && !isRoute(value.trim()))) return;
      const script = /^[\0- ]*javascript:/i.exec(value);
      if (!script) add(absolute(value.trim()));
      else try { keep(code, decodeURIComponent(value.slice(script[0].length))); } catch { keep(code, value.slice(script[0].length)); }
    };
    if (name === 'a' || name === 'area') named(e.hasAttribute('href') ? 'href' : 'xlink:href');
    else if (name === 'link') {
      const rel = (attribute(e, 'rel') || '').trim().toLowerCase().split(/\s+/);
      const leads = rel.some((r) => rels.has(r) && (r !== 'alternate' || !rel.includes('stylesheet')));
      if (leads || (o.resources && rel[0] !== '')) named('href');
    } else if (name === 'iframe' || name === 'frame') {
      named('src');
      const srcdoc = attribute(e, 'srcdoc');
      if (srcdoc && absolute === absoluteHere) within(srcdoc);
    } else if (name === 'form') {
      if (gets(attribute(e, 'method'))) named('action');
      else keep(posts, absolute(attribute(e, 'action') ?? ''));
    } else if (name === 'button' || name === 'input') {
      const form = e.form;
      if (gets(attribute(e, 'formmethod') ?? (form && attribute(form, 'method')))) named('formaction');
      else if (e.hasAttribute('formaction')) keep(posts, absolute(attribute(e, 'formaction')));
    }
    if (o.resources) {
      for (const kind of resources[name] || []) named(kind);
      if (name === 'img' || name === 'source') keep(srcsets, attribute(e, 'srcset'));
    }
    keep(code, attribute(e, 'onclick'));
  };
  const absoluteHere = absolute;
  const referring = 'a,area,link[rel][href],iframe,frame[src],form,[formaction],[onclick]'
    + (o.resources ? ',img,source,video,audio,track,embed,object,script[src],input[src],image,body' : '');
  const within = (srcdoc) => {
    try {
      const inner = new DOMParser().parseFromString(srcdoc, 'text/html');
      const own = inner.querySelector('base[href]');
      const from = own ? absolute(own.getAttribute('href')) : base;
      const absoluteThere = (text) => { try { return new URL(text, from).href; } catch { return ''; } };
      const roots = [inner];
      for (const root of roots) {
        for (const e of root.querySelectorAll(referring)) refer(e, absoluteThere);
        for (const e of root.querySelectorAll('template[shadowrootmode]')) if (roots.length < 1000) roots.push(e.content);
      }
    } catch { /* the page does not let text become a document */ }
  };
  // What is beyond the bound is not looked at.
  const full = () => truncated && links.length >= o.maxLinks;
  // A loop over an index: in a page of thousands of elements an iterator takes three times as long.
  const each = (list, most, look) => { for (let i = 0; i < list.length && i < most && look(list[i]) !== false; i++); };
  const select = (root, selector) => (root === doc ? all(selector) : root.querySelectorAll(selector));
  const referAll = (root, absolute) => each(select(root, referring), Infinity, (e) => !full() && refer(e, absolute));
  referAll(doc, absoluteHere);
  // What the hook saw of closed shadow roots and of windows that were not opened: addresses, and HTML behind a space.
  const hear = (stage) => {
    const took = (event) => {
      try { for (const said of JSON.parse(event.detail)) said[0] === ' ' ? within(said) : add(absolute(said)); } catch { /* not the hook's */ }
    };
    stage.addEventListener(o.key + 't', took);
    stage.dispatchEvent(new CustomEvent(o.key + 'f'));
    stage.removeEventListener(o.key + 't', took);
  };
  // What lies beside the document's own tree: shadow roots, and frames whose documents have no address.
  const { get: shadowOf } = Object.getOwnPropertyDescriptor(Element.prototype, 'shadowRoot');
  const shadows = [];
  const beside = (root) => {
    each(select(root, '*'), 200000, (e) => {
      const inner = shadowOf.call(e);
      if (!inner) return;
      if (shadows.length < 1000) shadows.push(inner);
      enter(inner);
    });
    each(select(root, 'iframe'), 50000, (frame) => {
      const inner = frame.contentDocument;
      // A document that a script writes into a frame has the address of the script's own.
      if (!inner || (/^https?:/.test(inner.URL) && (frame.src !== '' || inner.URL.split('#')[0] !== here))) return;
      enter(inner);
      hear(frame.contentWindow.performance);
    });
  };
  let entered = 0;
  const enter = (root) => {
    if (++entered > 1000) { truncated = true; return; }
    const from = root.baseURI || base;
    const absoluteThere = (text) => { try { return new URL(text, from).href; } catch { return ''; } };
    referAll(root, absoluteThere);
    beside(root);
  };
  beside(doc);
  hear(performance);
  // Feeds, and other documents that are not HTML.
  if (!/html|svg/.test(of('contentType') || '')) {
    for (const e of all('link')) {
      if (e.namespaceURI !== 'http://www.w3.org/1999/xhtml') add(absolute(attribute(e, 'href') || e.textContent.trim()));
    }
  }
  for (const m of all('meta')) {
    const equiv = (m.httpEquiv || '').toLowerCase();
    const name = (m.name || '').toLowerCase();
    const content = m.content || '';
    if (equiv === 'refresh') {
      const r = /^\s*(\d+)(?:\.\d*)?\s*(?:[;,\s]\s*(?:url\s*=\s*)?["']?([^"']*)["']?)?/i.exec(content);
      if (r?.[2]) add(absolute(r[2].trim()));
    } else if (name === 'robots' || name === 'crawld') {
      if (/(^|[\s,])(nofollow|none)($|[\s,])/i.test(content)) nofollow = true;
    }
  }
  const fields = {};
  let budget = o.fieldMax;
  for (const [name, selector, attribute] of o.fields) {
    const values = [];
    try {
      for (const e of all(selector)) {
        if (values.length >= 1000 || budget <= 0) { truncated = true; break; }
        const value = attribute === null ? String(e.innerText ?? e.textContent ?? '').trim() : e.getAttribute(attribute);
        if (typeof value !== 'string') continue;
        const kept = cut(value, Math.min(65536, budget));
        budget -= kept.length + 1;
        values.push(kept);
      }
    } catch { /* not a selector: no matches */ }
    fields[name] = values;
  }
  let text = null;
  if (o.textMax > 0) {
    // Chromium shows XML in a page of its own around it.
    const shown = /html/.test(of('contentType') || '') ? null : Document.prototype.getElementById.call(doc, 'webkit-xml-viewer-source-xml');
    const root = shown || of('body') || of('documentElement');
    const textOf = (node) => {
      if (node.nodeType === 3) return node.nodeValue.trim();
      return node.nodeType !== 1 || /^(style|script|template|link)$/.test(node.localName) ? '' : (node.innerText ?? node.textContent).trim();
    };
    const texts = [root ? (root.innerText ?? root.textContent ?? '') : ''];
    // No text contains what is in a shadow root.
    for (const shadow of shadows) texts.push(...[...shadow.childNodes].map(textOf).filter((text) => text !== ''));
    text = cut(texts.join('\n'), o.textMax);
  }
  const whole = of('documentElement');
  const withShadows = () => whole.cloneNode(false).outerHTML.replace(/<\/[^>]*>$/, (end) => whole.getHTML({ shadowRoots: shadows }) + end);
  const plain = shadows.length === 0 || of('contentType') !== 'text/html';
  const markup = () => (plain ? (whole?.outerHTML ?? '') : withShadows());
  const html = o.sourceMax > 0 ? markup() : '';
  // Scripts that are no modules can import some.
  const imports = () => [...all('script:not([src])')].slice(0, 50).some((e) => e.textContent.includes('import('));
  const nav = performance.getEntriesByType('navigation')[0];
  const noted = ask();
  return JSON.stringify({
    readyState: of('readyState'),
    base,
    title: cut(of('title') || '', 1024) || null,
    text,
    links,
    code,
    srcsets,
    posts,
    nofollow,
    fields,
    bytes: (nav && nav.decodedBodySize) || (html || markup()).length,
    arrived: nav?.responseEnd > 0,
    elements: all('*').length,
    source: o.sourceMax > 0 ? html.slice(0, o.sourceMax).toWellFormed() : null,
    sourceLength: html.length,
    standards: of('compatMode') === 'CSS1Compat',
    contentType: of('contentType') || null,
    truncated,
    settled,
    demand: o.still ? 0 : demandOf(noted),
    hooked: o.still || noted !== null,
    heap: performance.memory?.usedJSHeapSize ?? 0,
    posted: noted?.posted === 1,
    signed: typeof o.sign === 'string' && has(o.sign),
    foreignFrames: [...all('iframe,frame')].some((frame) => frame.contentDocument === null),
    modules: !o.still && (has('script[type=module],link[rel=modulepreload]') || imports()),
  });
}
