(o) => {
  'use strict';
  // One run in a page: it begins here, works on by itself within its time, and is asked now and then what it has
  // found. It lives in a world of its own, so the page's scripts see its clicks and nothing else of it.
  const began = performance.now();
  const run = { done: false, cut: false, actions: 0, rounds: 0, error: null };
  const fresh = [];
  const known = new Set();
  globalThis[o.key] = run;

  const left = () => began + o.ms - performance.now();
  const over = () => left() <= 0 || run.actions >= o.actions || known.size >= o.maxLinks;
  const sleep = (ms) => new Promise((done) => setTimeout(done, Math.max(0, Math.min(ms, left()))));
  const frame = () => Promise.race([new Promise((done) => requestAnimationFrame(() => done())), sleep(100)]);
  const link = (href) => {
    if (typeof href !== 'string' || href.length > 65536) return;
    let url;
    try { url = new URL(href, document.baseURI); } catch { return; }
    if (url.protocol !== 'http:' && url.protocol !== 'https:') return;
    const bare = o.hashRoutes && /^#!?\//.test(url.hash) ? url.href : url.href.split('#')[0];
    if (known.has(bare) || known.size >= o.maxLinks) return;
    known.add(bare);
    fresh.push(bare);
  };

  // Lists throw away what has left the screen: links are taken as they come, not only at the end.
  const take = (node) => {
    if (node.nodeType !== 1 && node.nodeType !== 9 && node.nodeType !== 11) return;
    if (typeof node.href === 'string') link(node.href);
    for (const e of node.querySelectorAll('a[href],area[href],iframe[src],frame[src]')) link(e.href || e.src);
  };
  const roots = () => {
    const found = [document];
    for (let i = 0; i < found.length && found.length < 200; i++) {
      for (const e of found[i].querySelectorAll('*')) {
        if (e.shadowRoot) found.push(e.shadowRoot);
        else if (e.localName === 'iframe' && e.contentDocument) found.push(e.contentDocument);
        if (found.length >= 200) break;
      }
    }
    return found;
  };
  let changed = began;
  const watched = new WeakSet();
  const observer = new MutationObserver((records) => {
    changed = performance.now();
    for (const record of records) {
      if (record.type === 'attributes') take(record.target);
      else for (const node of record.addedNodes) take(node);
    }
  });
  const collect = () => {
    for (const root of roots()) {
      if (!watched.has(root)) {
        watched.add(root);
        observer.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: ['href', 'src'] });
      }
      take(root);
    }
    return known.size;
  };
  const all = (selector) => roots().flatMap((root) => [...root.querySelectorAll(selector)]);

  // The page's hook counts unfinished requests and short timers.
  const pending = () => {
    let answer = null;
    const hear = (event) => { answer = event.detail; };
    performance.addEventListener(o.hook + 'a', hear);
    performance.dispatchEvent(new CustomEvent(o.hook + 'q'));
    performance.removeEventListener(o.hook + 'a', hear);
    return typeof answer === 'string' ? Number(answer.split(',')[0]) : 0;
  };
  // Waits until nothing goes on any more: a moment after a click, longer while requests are under way.
  const quiet = async (most = 3000, still = 60) => {
    const from = performance.now();
    await frame();
    await frame();
    for (;;) {
      const now = performance.now();
      if (left() <= 0 || now - from >= most) return;
      if (pending() <= 0 && now - Math.max(changed, from) >= still) return;
      await sleep(25);
    }
  };

  // A page is never left: where it would go is a link. What a form would send is not sent.
  const here = () => (o.hashRoutes ? location.href : location.href.split('#')[0]);
  const home = here();
  const entry = globalThis.navigation?.currentEntry?.key;
  globalThis.navigation?.addEventListener('navigate', (event) => {
    if (run.done || event.navigationType === 'traverse' || event.navigationType === 'reload') return;
    if (!event.formData) link(event.destination.url);
    if (!event.destination.sameDocument && event.cancelable) event.preventDefault();
  });
  addEventListener('submit', (event) => {
    if (run.done) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  }, true);
  // A route within the page is a link by now: back to where the rest of the page is.
  const comeHome = async () => {
    if (here() === home || !entry) return;
    try {
      const back = navigation.traverseTo(entry);
      await Promise.race([back.finished, sleep(2000)]);
    } catch { /* it stays there */ }
    await quiet(1000);
  };

  const plain = (list) => list.filter((word) => typeof word === 'string').join(' ')
    .replace(/([a-z])([A-Z])/g, '$1 $2').replace(/[_\-./#]+/g, ' ');
  const words = (e) => {
    const own = [e.innerText?.slice(0, 80), e.value, e.title, e.id, e.getAttribute('aria-label'), e.getAttribute('name'),
      e.getAttribute('href'), e.getAttribute('data-action'), e.getAttribute('onclick')?.slice(0, 200)];
    for (const id of (e.getAttribute('aria-labelledby') ?? '').split(/\s+/)) own.push(id && e.getRootNode().getElementById?.(id)?.textContent.slice(0, 80));
    for (const picture of [...e.querySelectorAll('title,desc,[alt],[aria-label]')].slice(0, 20)) {
      own.push(picture.getAttribute('alt'), picture.getAttribute('aria-label'), picture.namespaceURI.endsWith('svg') && picture.textContent.slice(0, 80));
    }
    return plain(own);
  };
  // What names an element for scripts and styles, and those within it: only the gravest of this counts.
  const marks = (e) => plain([e, ...[...e.querySelectorAll('*')].slice(0, 30)].flatMap((part) => (
    [...part.attributes].filter(({ name }) => name === 'class' || name === 'id' || name.startsWith('data-') || name.endsWith('href'))
      .map(({ name, value }) => name + ' ' + value.slice(0, 100))
  )));
  const GRAVE = [
    '(log|sign) ?(out|off)', 'abmelden', 'ausloggen', 'deconnexion', 'déconnexion', 'se déconnecter', 'cerrar sesi[oó]n',
    'delete', 'remove', 'destroy', 'erase', 'trash', 'löschen', 'entfernen', 'supprimer', 'eliminar', 'borrar', 'cancell?a',
    'unsubscribe', 'buy', 'purchase', 'check ?out', 'place order', 'deactivate', 'end session',
  ];
  const among = (list) => new RegExp('\\b(' + list.join('|') + ')(?!\\w)', 'iu');
  const MARKS = among([...GRAVE, 'data method (post|put|patch)']);
  const DANGER = among([
    ...GRAVE, 'subscribe', 'abonnieren', 'order now', 'pay', 'kaufen', 'bestellen',
    'acheter', 'comprar', 'add to (cart|basket)', 'in den warenkorb', 'submit', 'send', 'absenden', 'senden', 'envoyer', 'enviar',
    'publish', 'save', 'speichern', 'vote', 'like', 'share', 'follow', 'report', 'print', 'upload',
    'download', 'install', 'disable', 'confirm', 'accept', 'agree', 'reset', 'clear', 'donate', 'apply',
  ]);
  const leaves = (e) => {
    const a = e.closest('a[href]');
    const to = a?.getAttribute('href').trim();
    return a !== null && (!/^(#|javascript:)/i.test(to) || (o.hashRoutes && /^#!?\//.test(to)));
  };
  const sends = (e) => {
    const control = e.closest('button,input');
    if (!control) return false;
    if (control.localName === 'input') return !['button', 'radio', 'checkbox'].includes(control.type);
    return control.form !== null && control.type !== 'button';
  };
  const seen = (e) => e.isConnected && e.checkVisibility?.({ visibilityProperty: true }) !== false && e.getClientRects().length > 0;
  const safe = (e) => !e.disabled && e.getAttribute('aria-disabled') !== 'true' && !leaves(e) && !sends(e)
    && e.closest('[contenteditable=""],[contenteditable=true]') === null && !DANGER.test(words(e)) && !MARKS.test(marks(e));
  const press = async (e, most) => {
    run.actions++;
    const init = { bubbles: true, cancelable: true, composed: true };
    try { e.scrollIntoView({ block: 'center' }); } catch { /* not everything can */ }
    for (const [Kind, type] of [[PointerEvent, 'pointerdown'], [MouseEvent, 'mousedown'], [PointerEvent, 'pointerup'], [MouseEvent, 'mouseup']]) {
      e.dispatchEvent(new Kind(type, init));
    }
    // What a reference in JavaScript evaluates to would replace the document, were it a text.
    const anchor = e.closest('a[href]');
    const code = anchor?.getAttribute('href');
    const script = code && /^\s*javascript:/i.test(code);
    if (script) anchor.setAttribute('href', code + '%0A;void 0');
    e.click();
    if (script) anchor.setAttribute('href', code);
    await quiet(most);
    collect();
    await comeHome();
  };
  const size = () => known.size * 1000003 + document.querySelectorAll('*').length;
  const inert = 'button,[role=button],a:not([href]),a[href^="#"],a[href^="javascript:" i],input[type=button],summary,[onclick]';

  const acts = {
    async scroll() {
      const boxes = () => {
        const inner = [...document.querySelectorAll('div,main,section,ul,ol,tbody,article,aside')].slice(0, 5000).filter((e) => {
          if (e.scrollHeight < e.clientHeight + 50 || e.clientHeight < 100) return false;
          return /auto|scroll/.test(getComputedStyle(e).overflowY);
        });
        return [document.scrollingElement || document.documentElement, ...inner.slice(0, 5)];
      };
      for (const box of boxes()) {
        let still = 0;
        while (still < 2 && run.rounds < o.rounds && !over()) {
          const before = size();
          const height = box.scrollHeight;
          run.rounds++;
          for (let steps = 0; steps < 100 && !over(); steps++) {
            const top = box.scrollTop;
            box.scrollTop = top + Math.max(200, box.clientHeight * 0.9);
            await frame();
            if (box.scrollTop <= top) break;
          }
          await quiet(4000, still === 0 ? 60 : 400);
          collect();
          // Some lists ask again only when they are scrolled to: a small way up, and down again.
          if (size() === before && box.scrollHeight === height) { still++; box.scrollTop -= 50; } else still = 0;
        }
        if (run.rounds >= o.rounds) run.cut = true;
      }
    },
    async load_more() {
      const MORE = /^\W*((load|show|view|see|display|get)\b.*\b(more|all|older|next)|more( \w+)?|older( \w+)?|mehr\b.*|weitere\b.*|alle anzeigen|(voir|afficher|charger) plus.*|plus de .*|(ver|mostrar|cargar|carregar) (más|mais|todo).*|carica altr.*|mostra altr.*|meer (laden|tonen).*|もっと.*|さらに.*|更多.*|加载.*|показать ещё.*|ещё.*)\W*$/iu;
      const spent = new WeakSet();
      while (!over() && run.rounds < o.rounds) {
        const next = all(inert).find((e) => !spent.has(e) && MORE.test((e.innerText || e.value || e.getAttribute('aria-label') || '').trim().slice(0, 60)) && seen(e) && safe(e));
        if (!next) return;
        const before = size();
        run.rounds++;
        await press(next, 5000);
        if (size() === before) spent.add(next);
      }
      if (run.rounds >= o.rounds) run.cut = true;
    },
    async details() {
      for (let depth = 0; depth < 5 && !over(); depth++) {
        const closed = all('details:not([open])');
        for (const e of closed) e.open = true;
        const folded = all('[aria-expanded=false]').filter((e) => !tried.has(e) && seen(e) && safe(e));
        for (const e of folded) {
          if (over()) break;
          tried.add(e);
          if (e.isConnected) await press(e, 1500);
        }
        if (closed.length === 0 && folded.length === 0) return;
        await quiet(2000);
        collect();
      }
    },
    async pagination() {
      const NEXT = /^\W*(next( page)?|older( posts)?|weiter|nächste( seite)?|vor|suivante?|page suivante|siguiente|próxim[ao]|seguente|successiv[ao]|volgende|следующая|次へ?|下一页|[›»→>]+)\W*$/iu;
      const shown = () => (document.querySelector('main,[role=main]') || document.body)?.innerText.slice(0, 20000) ?? '';
      const met = new Set([shown()]);
      while (!over() && run.rounds < o.rounds) {
        const next = all(inert).find((e) => {
          const text = (e.innerText || e.value || '').trim();
          const label = e.getAttribute('aria-label') || e.title || '';
          return (NEXT.test(text) || NEXT.test(label) || e.getAttribute('rel') === 'next') && seen(e) && safe(e);
        });
        if (!next) return;
        run.rounds++;
        await press(next, 5000);
        const now = shown();
        if (met.has(now)) return;
        met.add(now);
      }
      if (run.rounds >= o.rounds) run.cut = true;
    },
    async hover() {
      const candidates = [...all('[aria-haspopup],nav li,[role=menubar] *,[onmouseover],[onmouseenter]'), ...marked('h')];
      for (const e of [...new Set(candidates)].slice(0, 150)) {
        if (over()) return;
        if (!seen(e)) continue;
        run.actions++;
        const into = { bubbles: true, cancelable: true, composed: true };
        for (const [Kind, type, init] of [[PointerEvent, 'pointerover', into], [PointerEvent, 'pointerenter', {}], [MouseEvent, 'mouseover', into], [MouseEvent, 'mouseenter', {}], [MouseEvent, 'mousemove', into]]) {
          e.dispatchEvent(new Kind(type, init));
        }
        await quiet(800, 30);
        collect();
        for (const [type, init] of [['mouseout', into], ['mouseleave', {}]]) e.dispatchEvent(new MouseEvent(type, init));
      }
    },
    async select() {
      const tell = (e) => { for (const type of ['input', 'change']) e.dispatchEvent(new Event(type, { bubbles: true, composed: true })); };
      for (const e of all('select:not([disabled])').slice(0, 20)) {
        if (!seen(e) || DANGER.test(words(e).slice(0, 200))) continue;
        const [first, count] = [e.selectedIndex, Math.min(e.options.length, 50)];
        for (let i = 0; i < count && !over() && e.isConnected; i++) {
          if (i === first || e.options[i].disabled || DANGER.test(e.options[i].text)) continue;
          run.actions++;
          e.selectedIndex = i;
          tell(e);
          await quiet(1500);
          collect();
          await comeHome();
        }
        e.selectedIndex = first;
        tell(e);
        await quiet(1000);
      }
      for (const e of all('input[type=radio]:not(:checked)').slice(0, 50)) {
        if (over()) return;
        if (seen(e) && safe(e)) await press(e, 1500);
      }
    },
    async click_handlers() {
      const HAND = 'button,[role=button],[role=tab],[role=menuitem],[role=treeitem],[role=link],[onclick],[data-href],[data-url],summary,a[href^="#"],a[href^="javascript:" i]';
      for (let round = 0; round < 3 && !over(); round++) {
        const pointing = [...document.querySelectorAll('div,span,li,td,tr,img,p,a:not([href])')].slice(0, 3000).filter((e) =>
          getComputedStyle(e).cursor === 'pointer' && (!e.parentElement || getComputedStyle(e.parentElement).cursor !== 'pointer'));
        const candidates = [...new Set([...marked('c'), ...all(HAND), ...pointing])];
        const next = candidates.filter((e) => e.nodeType === 1 && !tried.has(e) && !['html', 'body'].includes(e.localName));
        if (next.length === 0) return;
        for (const e of next) {
          if (over()) return;
          tried.add(e);
          if (seen(e) && safe(e)) await press(e, 1500);
        }
      }
    },
  };
  const tried = new WeakSet();
  // The elements that scripts of the page listen on, as the hook in its own world noted them.
  const marked = (kind) => {
    const found = [];
    const hear = (event) => { if (event.target?.nodeType === 1) found.push(event.target); };
    addEventListener(o.hook + 'e', hear, true);
    performance.dispatchEvent(new CustomEvent(o.hook + 'm', { detail: kind }));
    removeEventListener(o.hook + 'e', hear, true);
    return found;
  };

  run.poll = async (ms) => {
    const from = performance.now();
    while (!run.done && fresh.length < 500 && performance.now() - from < ms) await new Promise((done) => setTimeout(done, 50));
    const { done, cut, actions, error } = run;
    return JSON.stringify({ done, cut, actions, error, links: fresh.splice(0, 1000) });
  };
  const own = {
    link,
    sleep,
    quiet: (ms) => quiet(ms),
    left: () => Math.max(0, left()),
    collect: () => { collect(); },
    click: async (selector) => {
      let count = 0;
      for (const e of all(selector)) {
        if (over()) break;
        if (seen(e) && safe(e)) { count++; await press(e, 3000); }
      }
      return count;
    },
    ...Object.fromEntries(o.names.map((name) => [name, () => acts[name]()])),
  };
  const work = async () => {
    collect();
    if (o.script) {
      // A timer may fire a moment early: whether the script came to its end is not asked of the clock.
      let ended = false;
      try {
        await Promise.race([o.script(Object.freeze(own)).then(() => { ended = true; }), sleep(o.ms)]);
      } catch (error) {
        run.error = String(error?.message ?? error).slice(0, 300).toWellFormed();
      }
      run.cut ||= !ended;
      collect();
    }
    for (const name of o.order) {
      if (over()) break;
      await acts[name]();
    }
    if (over()) run.cut = true;
    scrollTo(0, 0);
  };
  work().catch((error) => { run.error = String(error?.message ?? error).slice(0, 300).toWellFormed(); }).finally(() => {
    observer.disconnect();
    run.done = true;
  });
  return '{}';
}
