(key) => {
  'use strict';
  // Everything used later is captured now, before a script of the page can replace it. What runs later
  // uses no iteration and no property that a page can put in the way, and never throws by itself.
  const { apply, construct, defineProperty, getOwnPropertyDescriptor } = Reflect;
  const top = self;
  const stage = performance;
  const Signal = CustomEvent;
  const listen = EventTarget.prototype.addEventListener;
  const dispatch = EventTarget.prototype.dispatchEvent;
  const detailOf = getOwnPropertyDescriptor(CustomEvent.prototype, 'detail').get;
  const silence = Event.prototype.stopImmediatePropagation;
  const methodOf = getOwnPropertyDescriptor(Request.prototype, 'method').get;
  const isPrototypeOf = Object.prototype.isPrototypeOf;
  const then = Promise.prototype.then;
  const upper = String.prototype.toUpperCase;
  const { set: put, delete: take } = Map.prototype;
  const { set: keep, get: find } = WeakMap.prototype;
  const Image = HTMLImageElement.prototype;
  const Doc = Document.prototype;
  const isShown = getOwnPropertyDescriptor(Node.prototype, 'isConnected').get;
  const timeout = top.setTimeout;

  // Shared by the frames of one origin: what goes on in any of them can change the page.
  let state = { __proto__: null, pending: 0, frames: 0, demand: 0, scrolls: 0, posted: 0, watched: false, tell: null };
  try {
    if (parent !== top) {
      const box = { __proto__: null, state: null };
      apply(dispatch, parent.performance, [new Signal(key + 's', { detail: box })]);
      state = box.state || state;
    }
  } catch { /* of another origin: on its own */ }
  if (!state.tell) state.tell = () => { apply(dispatch, stage, [new Signal(key + 'i')]); };

  // Unfinished work, and apart from it what waits for a frame: in some tabs none ever comes.
  let mine = 0;
  let drawn = 0;
  const quiet = () => { if (state.watched && (state.pending <= 0 || state.frames <= 0)) state.tell(); };
  const begin = () => { mine++; state.pending++; };
  const end = () => { if (mine > 0) { mine--; state.pending--; quiet(); } };
  const beginFrame = () => { drawn++; state.frames++; };
  const endFrame = () => { if (drawn > 0) { drawn--; state.frames--; quiet(); } };
  const follow = (promise) => { try { apply(then, promise, [end, end]); } catch { end(); } return promise; };
  const need = (bit) => { state.demand |= bit; };
  // What may never come to an end is waited for a moment only.
  const briefly = (ms = 1000) => {
    let open = true;
    const over = () => { if (open) { open = false; end(); } };
    begin();
    apply(timeout, top, [over, ms]);
    return over;
  };
  const first = (types) => (speaker) => {
    const over = briefly();
    for (let i = 0; i < types.length; i++) apply(listen, speaker, [types[i], over, { __proto__: null, once: true }]);
  };

  apply(listen, stage, [key + 's', (event) => { apply(detailOf, event, []).state = state; }]);
  apply(listen, stage, [key + 'q', () => {
    state.watched = true;
    const demand = state.demand & ~(state.scrolls === 3 ? 0 : 128);
    const answer = state.pending + ',' + state.frames + ',' + demand + ',' + state.posted;
    apply(dispatch, stage, [new Signal(key + 'a', { detail: answer })]);
  }]);
  // A frame that goes away takes its unfinished work with it. Nothing of the page's own runs then: it could hold
  // up the next page for ever.
  let leaving = false;
  const early = { __proto__: null, capture: true };
  apply(listen, top, ['pagehide', (event) => {
    leaving = true;
    apply(silence, event, []);
    while (mine > 0) end();
    while (drawn > 0) endFrame();
  }, early]);
  apply(listen, top, ['visibilitychange', (event) => { if (leaving) apply(silence, event, []); }, early]);

  // Effects that began: by the time the page is read they may be over.
  const moved = () => { state.demand |= 8192; };
  for (const type of ['animationstart', 'transitionrun']) apply(listen, top, [type, moved, { capture: true, once: true }]);

  const originals = new WeakMap();
  const stand = (original, trap) => {
    const proxy = new Proxy(original, { __proto__: null, apply: trap });
    apply(keep, originals, [proxy, original]);
    return proxy;
  };
  const wrap = (holder, name, trap) => {
    try {
      const property = getOwnPropertyDescriptor(holder, name);
      if (typeof property.value === 'function') {
        defineProperty(holder, name, { ...property, value: stand(property.value, trap) });
      }
    } catch { /* not there, or not to be changed */ }
  };
  const wrapSetter = (holder, name, note) => {
    try {
      const property = getOwnPropertyDescriptor(holder, name);
      const trap = (original, self, args) => {
        try { note(self, args[0]); } catch { /* never the page's affair */ }
        return apply(original, self, args);
      };
      defineProperty(holder, name, { ...property, set: stand(property.set, trap) });
    } catch { /* not there, or not to be changed */ }
  };
  // No listener of our own: for one that listens to beforeunload Chromium asks a page before it leaves it, also its
  // own page for an error, which may never answer.
  const mute = (name) => {
    let set = null;
    for (const holder of [top, HTMLBodyElement.prototype, HTMLFrameSetElement.prototype]) {
      try {
        const property = getOwnPropertyDescriptor(holder, name);
        if (holder === top) set = property.set;
        defineProperty(holder, name, { ...property, set: stand(property.set, () => undefined) });
      } catch { /* not there, or not to be changed */ }
    }
    // What an attribute of the body has set.
    const forget = () => { if (set) apply(set, top, [null]); };
    for (const type of ['DOMContentLoaded', 'load']) apply(listen, top, [type, forget, { __proto__: null, capture: true, once: true }]);
  };
  mute('onbeforeunload');
  mute('onunload');
  const noting = (note) => (original, self, args) => {
    try { note(self, args); } catch { /* never the page's affair */ }
    return apply(original, self, args);
  };
  wrap(Function.prototype, 'toString', (original, self, args) => {
    const known = typeof self === 'function' && apply(find, originals, [self]);
    return apply(original, known || self, args);
  });

  // Requests.
  const says = (method) => {
    if (typeof method !== 'string') return;
    const word = apply(upper, method, []);
    if (word !== 'GET' && word !== 'HEAD' && word !== 'OPTIONS') state.posted = 1;
  };
  wrap(top, 'fetch', (original, self, args) => {
    try {
      const what = args[0];
      const how = args[1];
      if (how && how.method !== undefined) says(how.method);
      else if (typeof what === 'object' && apply(isPrototypeOf, Request.prototype, [what])) says(apply(methodOf, what, []));
    } catch { /* the call itself will say */ }
    begin();
    return follow(apply(original, self, args));
  });
  for (const name of ['arrayBuffer', 'blob', 'bytes', 'formData', 'json', 'text']) {
    wrap(Response.prototype, name, (original, self, args) => { begin(); return follow(apply(original, self, args)); });
  }
  wrap(ReadableStreamDefaultReader.prototype, 'read', (original, self, args) => {
    const promise = apply(original, self, args);
    const over = briefly();
    try { apply(then, promise, [over, over]); } catch { over(); }
    return promise;
  });
  wrap(XMLHttpRequest.prototype, 'open', noting((_, args) => says(args[0])));
  wrap(XMLHttpRequest.prototype, 'send', (original, self, args) => {
    let open = true;
    const over = () => { if (open) { open = false; end(); } };
    begin();
    try {
      apply(listen, self, ['loadend', over, { once: true }]);
      return apply(original, self, args);
    } catch (error) {
      over();
      throw error;
    }
  });

  // What speaks by itself is waited for until it first does.
  const spoken = first(['message', 'error']);
  const portOf = top.SharedWorker && getOwnPropertyDescriptor(SharedWorker.prototype, 'port').get;
  for (const name of ['EventSource', 'WebSocket', 'Worker', 'SharedWorker']) {
    const trap = (original, args, made) => {
      const speaker = construct(original, args, made);
      try { spoken(name === 'SharedWorker' ? apply(portOf, speaker, []) : speaker); } catch { /* never the page's affair */ }
      return speaker;
    };
    if (typeof top[name] === 'function') top[name] = new Proxy(top[name], { __proto__: null, construct: trap });
  }

  // What is stored in the browser comes later too.
  const stored = first(['success', 'error', 'blocked']);
  const asked = (holder, names, wait) => {
    for (const name of holder ? names : []) {
      wrap(holder.prototype, name, (original, self, args) => {
        const answer = apply(original, self, args);
        try { wait(answer); } catch { /* never the page's affair */ }
        return answer;
      });
    }
  };
  const promised = (answer) => { const over = briefly(); apply(then, answer, [over, over]); };
  asked(top.IDBFactory, ['open', 'deleteDatabase'], stored);
  for (const holder of [top.IDBObjectStore, top.IDBIndex]) asked(holder, ['get', 'getAll', 'getKey', 'getAllKeys', 'count'], stored);
  asked(top.CacheStorage, ['open', 'match', 'has', 'keys'], promised);
  asked(top.Cache, ['match', 'matchAll', 'add', 'addAll', 'put', 'keys'], promised);
  asked(top.StorageManager, ['getDirectory'], promised);
  asked(top.FileSystemDirectoryHandle, ['getFileHandle', 'getDirectoryHandle'], promised);
  asked(top.FileSystemFileHandle, ['getFile', 'createWritable'], promised);
  asked(top.FileSystemWritableFileStream, ['write', 'close'], promised);

  // Calls that are likely to bring something: short timers, the next frames and idle moments, also those that these
  // ask for, to a depth; of what is repeated, the first few times.
  let tracked = 0;
  let depth = 0;
  const awaited = (name, open, most, times, start, stop) => {
    const over = (id) => { if (apply(take, open, [id])) { tracked--; stop(); } };
    wrap(top, name, (original, self, args) => {
      const callback = args[0];
      // When a text has run cannot be seen, only when its time has come.
      if (typeof callback === 'string' && start === begin && short(args[1]) === 1) briefly((args[1] || 0) + 20);
      let left = typeof callback === 'function' && depth < most && tracked < 1000 ? times(args[1]) : 0;
      if (left === 0) return apply(original, self, args);
      const inner = depth + 1;
      let id = 0;
      args[0] = function () {
        if (--left === 0) over(id);
        const outer = depth;
        depth = inner;
        try { return apply(callback, this, arguments); } finally { depth = outer; }
      };
      id = apply(original, self, args);
      apply(put, open, [id, true]);
      tracked++;
      start();
      return id;
    });
    return noting((_, args) => over(args[0]));
  };
  const short = (delay) => (delay === undefined || (typeof delay === 'number' && !(delay > 1000)) ? 1 : 0);
  const often = (delay) => (delay > 250 ? 0 : delay > 150 ? 3 : 5);
  const timers = new Map();
  awaited('setInterval', timers, 20, often, begin, end);
  const cancel = awaited('setTimeout', timers, 20, short, begin, end);
  for (const name of ['clearTimeout', 'clearInterval']) wrap(top, name, cancel);
  const frame = top.requestAnimationFrame;
  const asks = (bit) => () => { need(bit); return 1; };
  for (const [name, cancel, bit] of [['requestAnimationFrame', 'cancelAnimationFrame', 1], ['requestIdleCallback', 'cancelIdleCallback', 2]]) {
    wrap(top, cancel, awaited(name, new Map(), 10, asks(bit), beginFrame, endFrame));
  }
  // An observer reports first in one of the next two frames.
  const observed = () => {
    if (tracked >= 1000) return;
    tracked++;
    beginFrame();
    apply(frame, top, [() => apply(frame, top, [() => { tracked--; endFrame(); }])]);
  };

  // What happens only when frames are drawn.
  const demand = (holder, name, bit) => { if (holder) wrap(holder, name, noting(() => need(bit))); };
  for (const kind of [top.IntersectionObserver, top.ResizeObserver]) {
    if (kind) wrap(kind.prototype, 'observe', noting(() => { need(4); observed(); }));
  }
  demand(Element.prototype, 'animate', 16);
  demand(Element.prototype, 'getAnimations', 16);
  demand(Doc, 'getAnimations', 16);
  wrap(Doc, 'startViewTransition', (original, self, args) => {
    need(32);
    const transition = apply(original, self, args);
    beginFrame();
    try { apply(then, transition.finished, [endFrame, endFrame]); } catch { endFrame(); }
    return transition;
  });
  // A dialog says with the next frame that it was closed.
  if (top.HTMLDialogElement) wrap(HTMLDialogElement.prototype, 'close', noting(() => { need(4); observed(); }));
  wrap(HTMLCanvasElement.prototype, 'toBlob', (original, self, args) => {
    need(512);
    const callback = args[0];
    if (typeof callback === 'function' && tracked < 1000) {
      tracked++;
      beginFrame();
      args[0] = function () { tracked--; endFrame(); return apply(callback, this, arguments); };
    }
    return apply(original, self, args);
  });
  demand(HTMLVideoElement.prototype, 'requestVideoFrameCallback', 512);
  // A picture that is not shown still says that it is there, to those who listen.
  const pictured = first(['load', 'error']);
  const framed = (type, self) => {
    if (type === 'scroll' || type === 'scrollend') { state.scrolls |= 1; need(128); }
    else if (type === 'message') { if (self === top || self === undefined) need(1024); }
    else if (type === 'load' || type === 'error') {
      // An image that is loaded lazily tells those who listen to it, or to everything.
      const picture = apply(isPrototypeOf, Image, [self]);
      if (picture || apply(isPrototypeOf, Doc, [self])) need(2048);
      if (picture && type === 'load' && !apply(isShown, self, [])) pictured(self);
    } else if (
      type === 'animationstart' || type === 'animationend' || type === 'animationiteration' ||
      type === 'animationcancel' || type === 'transitionrun' || type === 'transitionstart' ||
      type === 'transitionend' || type === 'transitioncancel' || type === 'webkitAnimationEnd' ||
      type === 'webkitTransitionEnd' || type === 'webkitAnimationStart'
    ) need(64);
    else if (type === 'contentvisibilityautostatechange' || type === 'scrollsnapchange') need(256);
  };
  wrap(EventTarget.prototype, 'addEventListener', (original, self, args) => {
    if (typeof args[0] === 'object') args[0] = '' + args[0];
    if (args[0] === 'beforeunload' || args[0] === 'unload') return undefined;
    try { framed(args[0], self); } catch { /* never the page's affair */ }
    return apply(original, self, args);
  });
  const handlers = [
    'animationstart', 'animationend', 'animationiteration', 'transitionrun', 'transitionstart', 'transitionend',
    'webkitanimationend', 'webkittransitionend', 'scroll', 'scrollend', 'contentvisibilityautostatechange', 'load', 'error',
  ];
  for (const holder of [HTMLElement.prototype, SVGElement.prototype, Doc, top]) {
    for (const type of handlers) {
      const name = type === 'webkitanimationend' ? 'webkitAnimationEnd' : type === 'webkittransitionend' ? 'webkitTransitionEnd' : type;
      wrapSetter(holder, 'on' + type, (self, value) => { if (value) framed(name, self); });
    }
  }
  wrapSetter(top, 'onmessage', (_, value) => { if (value) need(1024); });
  const scrolled = () => { state.scrolls |= 2; };
  for (const name of ['scroll', 'scrollTo', 'scrollBy']) {
    wrap(top, name, noting(scrolled));
    wrap(Element.prototype, name, noting(scrolled));
  }
  for (const name of ['scrollIntoView', 'scrollIntoViewIfNeeded']) wrap(Element.prototype, name, noting(scrolled));
  for (const name of ['scrollTop', 'scrollLeft']) wrapSetter(Element.prototype, name, scrolled);

  // Only the crawler ends the loading of a page.
  wrap(top, 'stop', () => undefined);
  // Nobody answers a dialog, and a storm of them could not be stopped.
  wrap(top, 'alert', () => undefined);
  wrap(top, 'confirm', () => false);
  wrap(top, 'prompt', () => null);
  wrap(top, 'print', () => undefined);
  // And only the crawler closes its tabs, or leaves a page for none.
  wrap(top, 'close', () => undefined);
  if (parent === top && top.navigation) {
    const destinationOf = getOwnPropertyDescriptor(NavigateEvent.prototype, 'destination').get;
    const urlOf = getOwnPropertyDescriptor(NavigationDestination.prototype, 'url').get;
    const prevent = Event.prototype.preventDefault;
    const stays = getOwnPropertyDescriptor(NavigationDestination.prototype, 'sameDocument').get;
    const begins = String.prototype.startsWith;
    apply(listen, top.navigation, ['navigate', (event) => {
      const destination = apply(destinationOf, event, []);
      const url = apply(urlOf, destination, []);
      if (!apply(begins, url, ['http'])) apply(prevent, event, []);
      // The browser hears of it a moment later, and must not find the page read and left by then.
      else if (!apply(stays, destination, [])) briefly(200);
    }]);
  }
  // A service worker would answer for documents without anybody being asked, and one that is just being started
  // holds up the next page.
  const refusal = new DOMException('Failed to register a ServiceWorker: The user denied permission.', 'SecurityError');
  const reject = Promise.reject;
  const Vow = Promise;
  if (top.ServiceWorkerContainer) wrap(ServiceWorkerContainer.prototype, 'register', () => apply(reject, Vow, [refusal]));

  // Before a page in the tab's history lies another visit's: a page that goes back would pass for one that
  // redirects there.
  for (const name of ['back', 'forward', 'go']) wrap(History.prototype, name, () => undefined);
}
