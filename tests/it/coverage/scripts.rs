//! What scripts get from elsewhere: requests, storage, workers, sockets, modules, messages.

use super::{Case, case};

pub const CASES: &[Case] = &[
    case("requests", "xhr", "<script>const x = new XMLHttpRequest(); x.onload = () => add(1); x.open('GET', echo('x', 'text/plain', 300)); x.send()</script>", 1),
    case("requests", "xhr-chain", "<script>const ask = (i) => { const x = new XMLHttpRequest(); x.onreadystatechange = () => { if (x.readyState === 4) { add(i); if (i < 3) ask(i + 1); } };
        x.open('GET', echo('x', 'text/plain', 150)); x.send(); }; ask(1)</script>", 3),
    case("requests", "xhr-json", "<script>const x = new XMLHttpRequest(); x.responseType = 'json'; x.onloadend = () => x.response.forEach(add); x.open('GET', echo('[1,2]', 'application/json', 200)); x.send()</script>", 2),
    case("requests", "xhr-document", "<script>const x = new XMLHttpRequest(); x.responseType = 'document'; x.onload = () => document.body.append(x.response.body.firstChild);
        x.open('GET', echo('<a href=~1>x</a>', 'text/html', 200)); x.send()</script>", 1),
    case("requests", "xhr-synchronous", "<script>const x = new XMLHttpRequest(); x.open('GET', echo('1', 'text/plain', 200), false); x.send(); add(x.responseText)</script>", 1),
    case("requests", "xhr-failed", "<script>const x = new XMLHttpRequest(); x.onerror = () => add(1); x.open('GET', 'http://127.0.0.1:1/'); x.send()</script>", 1),
    case("requests", "fetch", "<script>fetch(echo('1', 'text/plain', 300)).then((r) => r.text()).then(add)</script>", 1),
    case("requests", "fetch-html", "<div id=d></div><script>fetch(echo('<a href=~1>x</a><a href=~2>y</a>', 'text/html', 300)).then((r) => r.text()).then((t) => { d.innerHTML = t; })</script>", 2),
    case("requests", "fetch-json", "<script>fetch(echo('{\"pages\":[1,2,3]}', 'application/json')).then((r) => r.json()).then((j) => j.pages.forEach(add))</script>", 3),
    case("requests", "fetch-chain", "<script>(async () => { for (let i = 1; i < 5; i++) { await fetch(echo('x', 'text/plain', 100)); add(i); } })()</script>", 4),
    case("requests", "fetch-all", "<script>Promise.all([1, 2, 3].map((i) => fetch(echo(i, 'text/plain', i * 100)).then((r) => r.text()))).then((all) => all.forEach(add))</script>", 3),
    case("requests", "fetch-late", "<script>onload = () => setTimeout(() => fetch(echo('1', 'text/plain', 900)).then((r) => r.text()).then(add), 300)</script>", 1),
    case("requests", "fetch-stream", "<script>fetch(echo('12', 'text/plain', 100)).then(async (r) => { const reader = r.body.getReader(); let t = '';
        for (;;) { const { done, value } = await reader.read(); if (done) break; t += new TextDecoder().decode(value); } [...t].forEach(add); })</script>", 2),
    case("requests", "fetch-form", "<script>fetch(echo('1', 'text/plain', 100), { method: 'POST', body: 'x' }).then((r) => r.text()).then(add)</script>", 1),
    case("requests", "fetch-aborted", "<script>fetch(echo('x', 'text/plain', 5000), { signal: AbortSignal.timeout(300) }).catch(() => add(1))</script>", 1),
    case("requests", "fetch-blob", "<script>fetch(URL.createObjectURL(new Blob(['1']))).then((r) => r.text()).then(add); fetch('data:,2').then((r) => r.text()).then(add)</script>", 2),
    case("requests", "fetch-cors", "<script>fetch('http://localhost:' + location.port + echo('x'), { mode: 'no-cors' }).then(() => add(1))</script>", 1),
    case("requests", "script-added", "<script>onload = () => { const s = document.createElement('script'); s.src = echo('add(1)', 'text/javascript', 400); document.body.append(s); }</script>", 1),
    case("requests", "script-jsonp", "<script>self.back = (x) => x.forEach(add); const s = document.createElement('script'); s.src = echo('back([1,2])', 'text/javascript', 300); document.head.append(s)</script>", 2),
    case("requests", "beacon", "<script>navigator.sendBeacon('/echo?type=text/plain', 'x'); add(1)</script>", 1),
    case("modules", "module-inline", "<script type=module>add(1); await later(100); add(2)</script>", 2),
    case("modules", "module-import", "<script>import(echo('export const n = 1', 'text/javascript', 300)).then((m) => add(m.n))</script>", 1),
    case("modules", "module-data", "<script>import('data:text/javascript,export default 1').then((m) => add(m.default))</script>", 1),
    case("modules", "module-map", "<script type=importmap>{\"imports\": {\"m\": \"data:text/javascript,export default 1\"}}</script><script type=module>import n from 'm'; add(n)</script>", 1),
    case("modules", "module-chain", "<script>import(echo('export default import(\"data:text/javascript,export default 2\")', 'text/javascript', 200)).then(async (m) => { add(1); add((await m.default).default); })</script>", 2),
    case("modules", "module-json", "<script>import('data:application/json,[1]', { with: { type: 'json' } }).then((m) => m.default.forEach(add))</script>", 1),
    case("modules", "module-wasm", "<script>WebAssembly.instantiate(new Uint8Array([0,97,115,109,1,0,0,0,1,4,1,96,0,0,2,7,1,1,109,1,102,0,0,8,1,0]), { m: { f: () => add(1) } })</script>", 1),
    case("modules", "module-eval", "<script>eval('add(1)'); new Function('add(2)')(); (0, eval)('add(3)')</script>", 3),
    case("storage", "storage-local", "<script>localStorage.setItem('n', 1); add(localStorage.getItem('n'))</script>", 1),
    case("storage", "storage-session", "<script>sessionStorage.n = 1; setTimeout(() => add(sessionStorage.n), 100)</script>", 1),
    case("storage", "storage-cookie", "<script>document.cookie = 'coverage=1; path=/c/storage-cookie'; add(/coverage=(.)/.exec(document.cookie)[1])</script>", 1),
    case("storage", "storage-cookie-store", "<script>cookieStore.set('later', '1').then(() => cookieStore.get('later')).then((c) => add(c.value))</script>", 1),
    case("storage", "storage-indexed", "<script>const open = indexedDB.open('d'); open.onupgradeneeded = () => open.result.createObjectStore('s');
        open.onsuccess = () => { const s = open.result.transaction('s', 'readwrite').objectStore('s'); s.put(1, 'n'); s.get('n').onsuccess = (e) => add(e.target.result); }</script>", 1),
    case("storage", "storage-caches", "<script>(async () => { const c = await caches.open('c'); await c.put('/x', new Response('1')); add(await (await c.match('/x')).text()); })()</script>", 1),
    case("storage", "storage-files", "<script>(async () => { const d = await navigator.storage.getDirectory(); const f = await d.getFileHandle('f', { create: true }); const w = await f.createWritable();
        await w.write('1'); await w.close(); add(await (await f.getFile()).text()); })()</script>", 1),
    case("storage", "storage-event", "<iframe id=f srcdoc='<p>x'></iframe><script>onstorage = (e) => add(e.newValue); onload = () => f.contentWindow.localStorage.setItem('e', 1)</script>", 1),
    case("storage", "storage-blob", "<script>new Blob(['1']).text().then(add); const r = new FileReader(); r.onload = () => add(r.result); r.readAsText(new Blob(['2']))</script>", 2),
    case("workers", "worker-blob", "<script>new Worker(URL.createObjectURL(new Blob(['setTimeout(() => postMessage(1), 200)']))).onmessage = (e) => add(e.data)</script>", 1),
    case("workers", "worker-fetch", "<script>new Worker(echo('fetch(location.origin + \"/echo?type=text/plain&delay=200&body=1\").then((r) => r.text()).then(postMessage)', 'text/javascript')).onmessage = (e) => add(e.data)</script>", 1),
    case("workers", "worker-module", "<script>new Worker(echo('postMessage(1)', 'text/javascript', 100), { type: 'module' }).onmessage = (e) => add(e.data)</script>", 1),
    case("workers", "worker-imports", "<script>new Worker(URL.createObjectURL(new Blob(['importScripts(' + JSON.stringify(new URL(echo('self.n = 1', 'text/javascript', 100), location).href) + '); postMessage(n)']))).onmessage = (e) => add(e.data)</script>", 1),
    case("workers", "worker-shared", "<script>new SharedWorker(echo('onconnect = (e) => e.ports[0].postMessage(1)', 'text/javascript')).port.onmessage = (e) => add(e.data)</script>", 1),
    case("workers", "worker-service", "<script>navigator.serviceWorker.register('/echo?type=text/javascript&body=1', { scope: '/' }).then(() => add(1))</script>", 1),
    case("workers", "worker-refused", "<script>navigator.serviceWorker.register('/echo?type=text/javascript&body=1').catch(() => add(1))</script>", 1),
    case("sockets", "socket-first", "<script>new WebSocket('ws://' + location.host + '/talk').onmessage = (e) => { if (e.data === '1') add(1); }</script>", 1),
    case("sockets", "socket-second", "<script>new WebSocket('ws://' + location.host + '/talk').onmessage = (e) => { if (e.data === '2') add(1); }</script>", 1),
    case("sockets", "socket-failed", "<script>new WebSocket('ws://127.0.0.1:1/').onerror = () => add(1)</script>", 1),
    case("sockets", "stream-first", "<script>new EventSource(echo('data: 1\\n\\n', 'text/event-stream', 300)).onmessage = (e) => add(e.data)</script>", 1),
    case("sockets", "stream-many", "<script>new EventSource(echo('data: 1\\n\\nevent: x\\ndata: 2\\n\\n', 'text/event-stream')).addEventListener('x', (e) => { add(1); add(e.data); })</script>", 2),
    case("messages", "message-self", "<script>onmessage = (e) => add(e.data); postMessage(1)</script>", 1),
    case("messages", "message-frame", "<iframe srcdoc='<script>parent.postMessage(1, \"*\")</script>'></iframe><script>onmessage = (e) => add(e.data)</script>", 1),
    case("messages", "message-foreign", "<script>onmessage = (e) => add(e.data); const f = document.createElement('iframe');
        f.src = 'http://localhost:' + location.port + echo('<script>parent.postMessage(1, \"*\")<\\/script>'); document.body.append(f)</script>", 1),
    case("messages", "message-answer", "<iframe id=f srcdoc='<script>onmessage = (e) => e.source.postMessage(e.data + 1, \"*\")</script>'></iframe><script>onmessage = (e) => add(e.data);
        onload = () => { f.contentWindow.postMessage(0, '*'); f.contentWindow.postMessage(1, '*'); }</script>", 2),
    case("messages", "message-broadcast", "<script>const a = new BroadcastChannel('c'), b = new BroadcastChannel('c'); a.onmessage = (e) => add(e.data); b.postMessage(1)</script>", 1),
    case("messages", "message-port", "<iframe id=f srcdoc='<script>onmessage = (e) => e.ports[0].postMessage(1)</script>'></iframe><script>onload = () => { const c = new MessageChannel();
        c.port1.onmessage = (e) => add(e.data); f.contentWindow.postMessage(0, '*', [c.port2]); }</script>", 1),
];
