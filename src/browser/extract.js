async (o) => {
  const doc = document;
  // Asked of the prototypes, because an element named like a property hides that of the document.
  const own = (prototype, name) => Object.getOwnPropertyDescriptor(prototype, name).get.call(doc);
  const of = (name) => own(Document.prototype, name);
  const all = (selector) => Document.prototype.querySelectorAll.call(doc, selector);
  // A page is read when it has been quiet for a moment; never longer than the bound.
  if (o.quietMs > 0) {
    await new Promise((done) => {
      let timer = 0;
      const finish = () => { observer.disconnect(); clearTimeout(timer); clearTimeout(bound); done(); };
      const again = () => { clearTimeout(timer); timer = setTimeout(finish, o.quietMs); };
      const observer = new MutationObserver(again);
      const bound = setTimeout(finish, o.quietBoundMs);
      observer.observe(doc, { childList: true, subtree: true, characterData: true });
      again();
    });
  }
  let truncated = false;
  // Half a surrogate pair is not text: whole pairs only, whether the page or the cut broke them.
  const cut = (text, max) => {
    if (text.length > max) { truncated = true; text = text.slice(0, max); }
    return text.toWellFormed();
  };
  const links = [];
  const seen = new Set();
  const add = (href) => {
    if (typeof href !== 'string' || href === '') return;
    if (!/^https?:/i.test(href)) return;
    const hash = href.indexOf('#');
    const bare = hash < 0 ? href : href.slice(0, hash);
    if (seen.has(bare)) return;
    if (links.length >= o.maxLinks) { truncated = true; return; }
    if (bare.length > 65536) return;
    seen.add(bare);
    links.push(bare);
  };
  const base = own(Node.prototype, 'baseURI') || '';
  const absolute = (text) => { try { return new URL(text, base).href; } catch { return ''; } };
  let refresh = null;
  let nofollow = false;
  const rels = new Set(['canonical', 'next', 'prev', 'previous', 'alternate']);
  for (const e of all('a[href],area[href],iframe[src],frame[src],link[rel][href]')) {
    const name = e.localName;
    if (name === 'link') {
      if ((e.getAttribute('rel') || '').toLowerCase().split(/\s+/).some((r) => rels.has(r))) add(e.href);
    } else if (name === 'iframe' || name === 'frame') {
      add(e.src);
    } else {
      add(typeof e.href === 'string' ? e.href : absolute(e.getAttribute('href')));
    }
  }
  for (const e of all('svg a')) {
    const href = e.getAttribute('href') || e.getAttributeNS('http://www.w3.org/1999/xlink', 'href');
    if (href) add(absolute(href));
  }
  for (const m of all('meta')) {
    const equiv = (m.httpEquiv || '').toLowerCase();
    const name = (m.name || '').toLowerCase();
    const content = m.content || '';
    if (equiv === 'refresh') {
      const r = /^\s*(\d+)(?:\.\d*)?\s*(?:[;,\s]\s*(?:url\s*=\s*)?["']?([^"']*)["']?)?/i.exec(content);
      if (r) {
        if (r[2]) add(absolute(r[2].trim()));
        const target = r[2] ? absolute(r[2].trim()) : '';
        if (target && target !== location.href && (refresh === null || +r[1] < refresh)) refresh = +r[1];
      }
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
    const root = of('body') || of('documentElement');
    text = cut(root ? (root.innerText ?? root.textContent ?? '') : '', o.textMax);
  }
  const html = of('documentElement')?.outerHTML ?? '';
  const nav = performance.getEntriesByType('navigation')[0];
  return JSON.stringify({
    readyState: of('readyState'),
    base,
    title: cut(of('title') || '', 1024) || null,
    text,
    links,
    nofollow,
    refresh,
    fields,
    bytes: (nav && nav.decodedBodySize) || html.length,
    html: html.length > o.htmlMax ? null : html.toWellFormed(),
    htmlHead: html.length > o.htmlMax ? html.slice(0, o.htmlMax).toWellFormed() : null,
    htmlLength: html.length,
    contentType: of('contentType') || null,
    truncated,
  });
}
