(key) => {
  'use strict';
  // Notes the references that scripts take out of the page, or change: its answer had them, and when the page is read
  // they are gone. Tells them, as HTML behind a space, to whoever knows the key. Asked only where something is taken out.
  const { apply, defineProperty, getOwnPropertyDescriptor } = Reflect;
  const stage = performance;
  const Signal = CustomEvent;
  const listen = EventTarget.prototype.addEventListener;
  const dispatch = EventTarget.prototype.dispatchEvent;
  const text = JSON.stringify;
  const { replaceAll, toLowerCase } = String.prototype;
  const { has, add } = Set.prototype;
  const { getAttribute, matches, querySelectorAll } = Element.prototype;
  const { item } = NodeList.prototype;
  const { cloneContents } = Range.prototype;
  const within = DocumentFragment.prototype.querySelectorAll;
  const getter = (holder, name) => getOwnPropertyDescriptor(holder.prototype, name).get;
  const isShown = getter(Node, 'isConnected');
  const typeOf = getter(Node, 'nodeType');
  const inner = getter(Element, 'firstElementChild');
  const nameOf = getter(Element, 'localName');
  const lengthOf = getter(NodeList, 'length');
  const rootOf = getter(Document, 'documentElement');
  const bodyOf = getter(Document, 'body');
  const stateOf = getter(Document, 'readyState');
  const forms = { __proto__: null, button: getter(HTMLButtonElement, 'form'), input: getter(HTMLInputElement, 'form') };
  const referring = 'a[href],a[*|href],area[href],link[rel][href],iframe,frame[src],form,[formaction],[onclick]';
  const told = { __proto__: null, a: ['href', 'xlink:href'], area: ['href'], link: ['rel', 'href'], iframe: ['src'],
    form: ['action', 'method'] };

  // A page that takes out more than that, or more often, is not listened to any more.
  let [looks, room] = [20000, 1000000];
  const known = new Set();
  const said = [];
  const say = (html) => {
    if (apply(has, known, [html]) || html.length > room) return;
    room -= html.length;
    apply(add, known, [html]);
    said[said.length] = html;
  };
  const quoted = (value) => '"' + apply(replaceAll, apply(replaceAll, value, ['&', '&amp;']), ['"', '&quot;']) + '"';
  const tag = (name, e, attributes) => {
    let html = '<' + name;
    for (let i = 0; i < attributes.length; i++) {
      const value = apply(getAttribute, e, [attributes[i]]);
      if (value !== null) html += ' ' + attributes[i] + '=' + quoted(value);
    }
    return html;
  };
  const tell = (e) => {
    looks--;
    const local = apply(nameOf, e, []);
    const name = local === 'frame' ? 'iframe' : local;
    if (told[name]) say(tag(name, e, told[name]) + '></' + name + '>');
    const srcdoc = name === 'iframe' ? apply(getAttribute, e, ['srcdoc']) : null;
    if (srcdoc) say(srcdoc);
    if (apply(getAttribute, e, ['onclick']) !== null) say(tag('i', e, ['onclick']) + '></i>');
    if (forms[name] && apply(getAttribute, e, ['formaction']) !== null) {
      const form = apply(forms[name], e, []);
      const method = apply(getAttribute, e, ['formmethod']) ?? (form && apply(getAttribute, form, ['method'])) ?? 'get';
      say(tag('button', e, ['formaction']) + ' formmethod=' + quoted(method) + '></button>');
    }
  };
  const tellAll = (list) => {
    const length = apply(lengthOf, list, []);
    for (let i = 0; i < length && looks > 0; i++) tell(apply(item, list, [i]));
  };
  const below = (e) => {
    looks--;
    if (apply(inner, e, [])) tellAll(apply(querySelectorAll, e, [referring]));
  };
  // A node is about to go with all that it holds, or only what it holds.
  const goes = (node) => {
    if (looks <= 0 || !node || apply(typeOf, node, []) !== 1 || !apply(isShown, node, [])) return;
    if (apply(matches, node, [referring])) tell(node);
    below(node);
  };
  const empties = (node) => {
    if (looks <= 0 || !apply(isShown, node, [])) return;
    const type = apply(typeOf, node, []);
    if (type === 1) below(node);
    else if (type === 11) tellAll(apply(within, node, [referring]));
    else if (type === 9) goes(apply(rootOf, node, []));
  };

  const trap = (original, note) => new Proxy(original, { __proto__: null, apply(original, self, args) {
    try { note(self, args); } catch { /* the call itself will say */ }
    return apply(original, self, args);
  } });
  const wrap = (holder, names, note) => {
    for (const name of names) {
      const property = holder && getOwnPropertyDescriptor(holder.prototype, name);
      if (typeof property?.value === 'function') defineProperty(holder.prototype, name, { ...property, value: trap(property.value, note) });
      else if (property?.set) defineProperty(holder.prototype, name, { ...property, set: trap(property.set, note) });
    }
  };
  const itself = (self) => goes(self);
  const content = (self) => empties(self);
  wrap(Node, ['removeChild'], (_, args) => goes(args[0]));
  wrap(Node, ['replaceChild'], (_, args) => goes(args[1]));
  wrap(Document, ['adoptNode'], (_, args) => goes(args[0]));
  wrap(Element, ['remove', 'replaceWith', 'outerHTML'], itself);
  wrap(HTMLElement, ['outerText'], itself);
  for (const holder of [Element, Document, DocumentFragment]) wrap(holder, ['replaceChildren'], content);
  for (const holder of [Element, ShadowRoot]) wrap(holder, ['innerHTML', 'setHTML', 'setHTMLUnsafe'], content);
  wrap(Node, ['textContent'], content);
  wrap(HTMLElement, ['innerText'], content);
  wrap(HTMLTableElement, ['deleteRow', 'deleteTHead', 'deleteTFoot', 'deleteCaption'], content);
  wrap(HTMLTableSectionElement, ['deleteRow'], content);
  wrap(HTMLTableRowElement, ['deleteCell'], content);
  wrap(Range, ['deleteContents', 'extractContents'], (self) => {
    if (looks > 0) tellAll(apply(within, apply(cloneContents, self, []), [referring]));
  });
  wrap(Document, ['body'], (self) => goes(apply(bodyOf, self, [])));
  // While a document is parsed, what is written into it takes nothing out.
  wrap(Document, ['open', 'write', 'writeln'], (self) => { if (apply(stateOf, self, []) !== 'loading') empties(self); });
  const changes = (self) => { if (looks > 0 && apply(isShown, self, [])) tell(self); };
  for (const holder of [HTMLAnchorElement, HTMLAreaElement, HTMLLinkElement]) wrap(holder, ['href'], changes);
  // Of links alone: every element has these, and pages call them more than anything else.
  const common = Element.prototype;
  for (const holder of [HTMLAnchorElement, HTMLAreaElement, HTMLLinkElement, SVGAElement]) {
    for (const name of ['setAttribute', 'removeAttribute']) {
      const property = getOwnPropertyDescriptor(common, name);
      const value = new Proxy(property.value, { __proto__: null, apply(_, self, args) {
        try { if (typeof args[0] === 'string' && apply(toLowerCase, args[0], []) === 'href') changes(self); } catch { /* as above */ }
        return apply(common[name], self, args);
      } });
      defineProperty(holder.prototype, name, { ...property, value });
    }
  }

  apply(listen, stage, [key + 'f', () => {
    if (said.length === 0) return;
    let html = ' ';
    for (let i = 0; i < said.length; i++) html += said[i];
    apply(dispatch, stage, [new Signal(key + 't', { detail: text([html]) })]);
  }]);
}
