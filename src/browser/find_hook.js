(key) => {
  'use strict';
  // Notes closed shadow roots, which nothing else can see into, and tells what they refer to, as text, to whoever
  // knows the key.
  const { apply, getOwnPropertyDescriptor } = Reflect;
  const stage = performance;
  const Signal = CustomEvent;
  const listen = EventTarget.prototype.addEventListener;
  const dispatch = EventTarget.prototype.dispatchEvent;
  const find = DocumentFragment.prototype.querySelectorAll;
  const attribute = Element.prototype.getAttribute;
  const item = NodeList.prototype.item;
  const lengthOf = getOwnPropertyDescriptor(NodeList.prototype, 'length').get;
  const baseOf = getOwnPropertyDescriptor(Node.prototype, 'baseURI').get;
  const text = JSON.stringify;
  const Address = URL;
  const hrefOf = getOwnPropertyDescriptor(URL.prototype, 'href').get;
  const roots = [];
  const note = (list, most, value) => { if (list.length < most) list[list.length] = value; };
  Element.prototype.attachShadow = new Proxy(Element.prototype.attachShadow, {
    __proto__: null,
    apply: (original, self, args) => {
      const root = apply(original, self, args);
      // Open ones are seen from outside.
      try { if (args[0].mode === 'closed') note(roots, 2000, root); } catch { /* the call went well without */ }
      return root;
    },
  });
  const told = () => {
    const all = [];
    for (let i = 0; i < roots.length; i++) {
      const found = apply(find, roots[i], ['a[href],area[href],iframe[src],frame[src]']);
      const base = apply(baseOf, roots[i], []);
      for (let j = 0; j < apply(lengthOf, found, []); j++) {
        const e = apply(item, found, [j]);
        const value = apply(attribute, e, ['href']) ?? apply(attribute, e, ['src']);
        try { note(all, 5000, apply(hrefOf, new Address(value, base), [])); } catch { /* no address */ }
      }
    }
    return text(all);
  };
  apply(listen, stage, [key + 'f', () => { apply(dispatch, stage, [new Signal(key + 't', { detail: told() })]); }]);
}
