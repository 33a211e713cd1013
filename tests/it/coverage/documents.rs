//! Documents within documents, documents that are written, and where a page goes.

use super::{Case, case};

pub const CASES: &[Case] = &[
    case("frames", "inner-srcdoc", "<iframe srcdoc='<a href=~1>x</a><script>document.write(\"<a href=~2>y</a>\")</script>'></iframe>", 2),
    case("frames", "inner-written", "<iframe id=f></iframe><script>f.contentDocument.write('<a href=~1>x</a>'); f.contentDocument.close()</script>", 1),
    case("frames", "inner-blank", "<script>onload = () => { const f = document.createElement('iframe'); document.body.append(f); f.contentDocument.body.innerHTML = '<a href=~1>x</a>'; }</script>", 1),
    case("frames", "inner-blob", "<script>const f = document.createElement('iframe'); f.src = URL.createObjectURL(new Blob(['<a href=~1>x</a>'], { type: 'text/html' })); document.body.append(f)</script>", 1),
    case("frames", "inner-data", "<iframe src='data:text/html,<a href=~1>x</a>'></iframe>", 1),
    case("frames", "inner-script", "<iframe src='javascript:\"<a href=~1>x</a>\"'></iframe>", 1),
    case("frames", "inner-nested", "<iframe srcdoc='<iframe srcdoc=\"<a href=~1>x</a>\"></iframe>'></iframe>", 1),
    case("frames", "inner-foreign", "<script>const f = document.createElement('iframe'); f.src = 'http://localhost:' + location.port + echo('<a href=~1>x</a>'); document.body.append(f)</script>", 1),
    case("frames", "inner-foreign-late", "<script>const f = document.createElement('iframe'); f.src = 'http://localhost:' + location.port +
        echo('<body><script>setTimeout(() => { document.body.innerHTML = \"<a href=~1>x</a>\" }, 100)<\\/script>'); document.body.append(f)</script>", 1),
    case("frames", "inner-read", "<iframe id=f></iframe><script>f.onload = () => { if (f.contentDocument.body.textContent === '1') add(1); }; f.src = echo('1', 'text/html', 300)</script>", 1),
    case("frames", "inner-address", "<iframe src=~1></iframe><script>const f = document.createElement('iframe'); f.src = '~2'; document.body.append(f)</script>", 2),
    case("frames", "inner-sandboxed", "<iframe sandbox srcdoc='<a href=~1>x</a>'></iframe>", 1),
    case("frames", "inner-gone", "<iframe id=f src=~1></iframe><script>f.remove()</script>", 1),
    case("written", "written-within", "<script>document.write('<a href=~1>x</a>'); document.writeln('<script>add(2)<\\/script>')</script>", 2),
    case("written", "written-anew", "<script>onload = () => { document.open(); document.write('<a href=~1>x</a>'); document.close() }</script>", 1),
    case("written", "written-parsed", "<script>document.body.append(...new DOMParser().parseFromString('<a href=~1>x</a>', 'text/html').body.children)</script>", 1),
    case("written", "written-fragment", "<script>document.body.append(document.createRange().createContextualFragment('<a href=~1>x</a><script>add(2)<\\/script>'))</script>", 2),
    case("written", "written-adjacent", "<p id=p>x<script>p.insertAdjacentHTML('afterend', '<a href=~1>x</a>'); p.outerHTML = '<a href=~2>y</a>'</script>", 2),
    case("written", "written-cloned", "<a id=a href=/>x</a><script>const c = a.cloneNode(true); c.href = '~1'; document.body.append(c)</script>", 1),
    case("written", "written-xslt", "<script>const p = (t) => new DOMParser().parseFromString(t, 'text/xml'); const x = new XSLTProcessor();
        x.importStylesheet(p('<xsl:stylesheet version=\"1.0\" xmlns:xsl=\"http://www.w3.org/1999/XSL/Transform\"><xsl:template match=\"/\"><a href=\"~1\">x</a></xsl:template></xsl:stylesheet>'));
        document.body.append(x.transformToFragment(p('<a/>'), document))</script>", 1),
    case("written", "written-inserted-script", "<script>const s = document.createElement('script'); s.textContent = 'add(1)'; document.body.append(s)</script>", 1),
    case("base", "base-added", "<script>const b = document.createElement('base'); b.href = '~'; document.head.append(b)</script><a href=1>x</a>", 1),
    case("base", "base-changed", "<base id=b href=/elsewhere/><a href=1>x</a><script>b.href = '~'</script>", 1),
    case("base", "base-removed", "<base id=b href='/nowhere/'><a href='../found/base-removed/1'>x</a><script>b.remove()</script>", 1),
    case("base", "base-written", "<base href='~'><script>document.body.insertAdjacentHTML('beforeend', '<a href=1>x</a><a href=./2>y</a>')</script>", 2),
    case("history", "history-push", "<script>history.pushState(0, '', '~1'); onload = () => history.replaceState(0, '', '~2')</script>", 2),
    case("history", "history-router", "<script>const show = () => { document.body.innerHTML = '<a href=~1>x</a>'; }; history.pushState(0, '', '/c/history-router?1'); dispatchEvent(new PopStateEvent('popstate'));
        addEventListener('popstate', show); dispatchEvent(new PopStateEvent('popstate'))</script>", 1),
    case("history", "history-navigate", "<script>navigation.addEventListener('navigate', (e) => { if (e.canIntercept) e.intercept({ handler: async () => { await later(50); add(2); } }); });
        onload = () => navigation.navigate('~1')</script>", 2),
    case("hash routes", "hash-changed", "<script>onhashchange = () => add(1); location.hash = 'x'</script>", 1),
    case("hash routes", "hash-route", "<a href='#/one'>x</a><a href='#!/two'>y</a><script>if (location.hash === '#/one') add(1); if (location.hash === '#!/two') add(2)</script>", 2),
    case("hash routes", "hash-router", "<div id=d></div><script>const show = () => { d.innerHTML = location.hash ? '<a href=~1>x</a>' : '<a href=\"#/in\">in</a>'; }; onhashchange = show; show()</script>", 1),
    case("elsewhere", "go-location", "<script>onload = () => { location = '~1' }</script>", 1),
    case("elsewhere", "go-replace", "<script>setTimeout(() => location.replace('~1'), 50)</script>", 1),
    case("elsewhere", "go-window", "<script>open('~1'); onload = () => open('~2', 'w', 'noopener')</script>", 2),
    case("elsewhere", "go-click", "<a id=a href=~1>x</a><script>onload = () => a.click()</script>", 1),
    case("elsewhere", "go-form", "<form id=f action=~1></form>", 1),
    case("elsewhere", "go-handler", "<button onclick=\"location.href = '~1'\">x</button><a href=\"javascript:window.open('~2')\">y</a>", 2),
    case("elsewhere", "go-meta", "<meta http-equiv=refresh content='5; url=~1'>", 1),
    case("elsewhere", "go-meta-added", "<script>const m = document.createElement('meta'); m.httpEquiv = 'refresh'; m.content = '60; url=~1'; document.head.append(m)</script>", 1),
    case("headers", "header-link", "=>link: <~1>; rel=\"next\", <~2>; rel=canonical\n\n<p>x", 2),
    case("headers", "header-refresh", "=>refresh: 9; url=~1\n\n<p>x", 1),
    case("headers", "header-policy", "=>content-security-policy: script-src 'none'\n\n<a href=~1>x</a>", 1),
    case("headers", "header-sandbox", "=>content-security-policy: sandbox\n\n<a href=~1>x</a>", 1),
];
