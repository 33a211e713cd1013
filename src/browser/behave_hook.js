(key) => {
  'use strict';
  // Notes which elements scripts of the page listen on for clicks and for the pointer, and names them when asked:
  // by an event at each, which only somebody who knows the key understands.
  const { apply, defineProperty, getOwnPropertyDescriptor } = Reflect;
  const stage = performance;
  const Signal = CustomEvent;
  const listen = EventTarget.prototype.addEventListener;
  const dispatch = EventTarget.prototype.dispatchEvent;
  const detailOf = getOwnPropertyDescriptor(CustomEvent.prototype, 'detail').get;
  const isPrototypeOf = Object.prototype.isPrototypeOf;
  const Elements = Element.prototype;
  const lists = { __proto__: null, c: [], h: [] };
  const known = { __proto__: null, c: new WeakSet(), h: new WeakSet() };
  const { has, add } = WeakSet.prototype;
  const note = (kind, element) => {
    const list = lists[kind];
    if (list.length >= 2000 || !apply(isPrototypeOf, Elements, [element]) || apply(has, known[kind], [element])) return;
    apply(add, known[kind], [element]);
    list[list.length] = element;
  };
  const kindOf = (type) => {
    if (type === 'click' || type === 'mousedown' || type === 'mouseup' || type === 'pointerdown' || type === 'pointerup') return 'c';
    if (type === 'mouseover' || type === 'mouseenter' || type === 'pointerover' || type === 'pointerenter') return 'h';
    return null;
  };
  EventTarget.prototype.addEventListener = new Proxy(EventTarget.prototype.addEventListener, {
    __proto__: null,
    apply: (original, self, args) => {
      const kind = kindOf(args[0]);
      if (kind !== null) note(kind, self);
      return apply(original, self, args);
    },
  });
  for (const type of ['click', 'mousedown', 'mouseover', 'mouseenter']) {
    const property = getOwnPropertyDescriptor(HTMLElement.prototype, 'on' + type);
    if (!property?.set) continue;
    const set = new Proxy(property.set, {
      __proto__: null,
      apply: (original, self, args) => {
        if (args[0]) note(kindOf(type), self);
        return apply(original, self, args);
      },
    });
    defineProperty(HTMLElement.prototype, 'on' + type, { ...property, set });
  }
  apply(listen, stage, [key + 'm', (event) => {
    const list = lists[apply(detailOf, event, [])] || [];
    for (let i = 0; i < list.length; i++) apply(dispatch, list[i], [new Signal(key + 'e')]);
  }]);
}
