//! Links and text where they are hard to find.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_that_are_not_opened_and_closed_shadow_roots_say_where_they_lead() {
    let stage = Stage::open().await;
    stage.site.put(
        "/windows",
        "<script>const w = open(''); w.location = '/1'; w.document.write('<a href=/2>x</a>'); w.location.href = '3';
         const v = open('/4'); v.document.body.innerHTML = '<form action=/5>'; v.close(); w.location.assign('/6');
         document.write('<a href=/7>x</a>')</script>",
    );
    stage.site.put(
        "/closed",
        "<p id=d></p><p id=e></p><script>d.attachShadow({ mode: 'closed' }).innerHTML =
         '<form action=/1></form><i onclick=\"location=`/2`\">x</i><a href=/3>x</a>';
         e.setHTMLUnsafe('<b><template shadowrootmode=closed><a href=/4></a></template></b>');
         const f = document.createElement('iframe'); document.body.append(f);
         const q = f.contentDocument.createElement('p'); f.contentDocument.body.append(q);
         q.attachShadow({ mode: 'closed' }).innerHTML = '<a href=/5>'</script>",
    );
    for (path, most) in [("/windows", 7), ("/closed", 5)] {
        let answer = stage.page(path).await;
        let found = links(&answer);
        for n in 1..=most {
            assert!(found.contains(&format!("{}/{n}", stage.site.base).as_str()), "{path}: no /{n} in {found:?}");
        }
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_and_html_include_what_open_shadow_roots_show() {
    let stage = Stage::open().await;
    stage.site.put(
        "/components",
        "<!doctype html>light <my-a>slotted</my-a><script>customElements.define('my-a', class extends HTMLElement {
         connectedCallback() { this.attachShadow({ mode: 'open' }).innerHTML =
         '<style>b { color: red }</style><b>deep</b> bare <slot></slot><my-b></my-b>' } });
         customElements.define('my-b', class extends HTMLElement { connectedCallback() {
         this.attachShadow({ mode: 'open' }).innerHTML = '<p>deeper <a href=/x>x</a>' } })</script>",
    );
    let answer = stage.page("/components").await;
    let text = answer.text.as_deref().unwrap_or_default();
    assert!(["light", "slotted", "deep", "bare", "deeper"].iter().all(|word| text.contains(word)), "{text}");
    assert!(!text.contains("color") && !text.contains("class"), "{text}");
    assert_eq!(links(&answer), [format!("{}/x", stage.site.base)]);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_are_read_by_whatever_type_they_come() {
    let stage = Stage::open().await;
    let rss = "<?xml version='1.0'?><rss version='2.0'><channel><title>T</title><link>/a</link><item><link>/b</link></item>\
        </channel></rss>";
    let atom = "<feed xmlns='http://www.w3.org/2005/Atom'><link href='/a'/><entry><link href='/b'/></entry></feed>";
    for (path, kind, body) in [
        ("/rss", "application/rss+xml; charset=utf-8", rss),
        ("/atom", "application/atom+xml", atom),
        ("/xml", "text/xml", rss),
    ] {
        stage.site.put(path, &format!("=>content-type: {kind}\r\n\r\n{body}"));
        let answer = stage.page(path).await;
        let expected = ["/a", "/b"].map(|path| format!("{}{path}", stage.site.base));
        assert_eq!(links(&answer), expected, "{path}");
        assert!(answer.content_type.is_some_and(|told| kind.starts_with(&told)), "{path}");
    }
    stage.site.put("/untyped", "=>content-type: html\r\n\r\n<!doctype html><a href=/a>a</a>");
    assert_eq!(links(&stage.page("/untyped").await).len(), 1);
    stage.close().await;
}

/// A script, and which of the links before it are in the page no more when it is read.
const TAKEN_OUT: &[(&str, &str)] = &[
    ("remove", "d.remove()"),
    ("removeChild", "d.parentNode.removeChild(d)"),
    ("replaceChild", "d.parentNode.replaceChild(document.createElement('i'), d)"),
    ("replaceWith", "d.replaceWith('x')"),
    ("replaceChildren", "document.body.replaceChildren()"),
    ("innerHTML", "d.innerHTML = 'x'"),
    ("outerHTML", "d.outerHTML = 'x'"),
    ("textContent", "document.body.textContent = ''"),
    ("innerText", "d.innerText = ''"),
    ("range", "const r = document.createRange(); r.selectNodeContents(d); r.deleteContents()"),
    ("body", "document.body = document.createElement('body')"),
    ("written", "onload = () => { document.open(); document.write('<p>x'); document.close() }"),
    ("late", "fetch('/slowdata').then(() => d.remove())"),
    ("gone to nowhere", "document.adoptNode(d)"),
    ("each", "for (const e of d.querySelectorAll('*')) e.remove()"),
    (
        "changed",
        "for (const a of d.querySelectorAll('a')) a.href = '/x'; d.querySelector('area').removeAttribute('href');
         d.querySelector('iframe').remove(); d.querySelector('form').remove();
         d.querySelector('i').remove()",
    ),
    (
        "hostile",
        "Array.prototype[Symbol.iterator] = String.prototype.replaceAll = Element.prototype.getAttribute =
         NodeList.prototype.item = Set.prototype.has = () => { throw 1 }; d.remove()",
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_a_script_takes_out_of_the_page_are_found() {
    let stage = Stage::open().await;
    let mut wrong = Vec::new();
    for (name, script) in TAKEN_OUT {
        let path = format!("/gone-{}", name.replace(' ', "-"));
        stage.site.put(
            &path,
            &format!(
                "<!doctype html><title>{name}</title><div id=d><a href='/1?a=&quot;b&amp;c'>x</a><map><area href=/2></map>
                 <iframe srcdoc='<a href=/3>x</a>'></iframe><form action=/4><button formaction=/5></button></form>
                 <form method=post action=/never><button formaction=/never2></button></form>
                 <i onclick=\"location = '/6'\">x</i><a href=mailto:a@b>x</a></div><script>{script}</script>"
            ),
        );
        let answer = stage.page(&path).await;
        let found: Vec<&str> =
            links(&answer).into_iter().filter_map(|link| link.strip_prefix(stage.site.base.as_str())).collect();
        let expected = ["/1?a=%22b&c", "/2", "/3", "/4", "/5", "/6"];
        if !expected.iter().all(|link| found.contains(link)) || found.iter().any(|link| link.contains("never")) {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    stage.close().await;
}
