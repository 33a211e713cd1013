//! What each path of the site answers.

use std::fmt::Write as _;
use std::io::Write as _;

use super::Config;

/// An answer, before it becomes HTTP.
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Header names in lower case, with values.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Reply {
    fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        Reply { status, headers: vec![("content-type", kind.to_owned())], body: body.into() }
    }

    fn html(status: u16, title: &str, main: &str) -> Self {
        Reply::new(status, "text/html; charset=utf-8", document(title, main))
    }

    fn redirect(status: u16, to: &str) -> Self {
        Reply { status, headers: vec![("location", to.to_owned())], body: Vec::new() }
    }

    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

/// The title of `/light/{n}`: belongs to that page alone.
pub fn title(n: u32) -> String {
    const FIRST: [&str; 12] =
        ["Grey", "Saint", "Far", "Old", "Tern", "Salt", "North", "Whale", "Bell", "Amber", "Storm", "Gull"];
    const SECOND: [&str; 10] = ["Point", "Skerry", "Head", "Reef", "Ness", "Sound", "Island", "Bar", "Rock", "Harbour"];
    let (first, second) = (FIRST[n as usize % 12], SECOND[(n / 12) as usize % 10]);
    format!("{first} {second} Light, No. {n}")
}

/// Pages that only a script names: one of each ten.
pub fn script_link(config: &Config, n: u32) -> Option<String> {
    (config.scripts && n % 10 == 5).then(|| format!("/keeper/{n}"))
}

/// Pages that only the sitemaps name.
pub const SITEMAP_PAGES: u32 = 6;

/// Pages of the lab, linked from `/lab/`.
pub const LAB: &[&str] = &[
    "/lab/301",
    "/lab/302",
    "/lab/chain",
    "/lab/loop",
    "/lab/away",
    "/lab/missing",
    "/lab/gone",
    "/lab/recovers-2nd",
    "/lab/recovers-3rd",
    "/lab/broken",
    "/lab/busy",
    "/lab/slow",
    "/lab/escapes",
    "/lab/huge",
    "/lab/file.zip",
    "/private/door",
];

/// Answers a request; `earlier` counts the requests for the same path before this one.
pub fn reply(config: &Config, base: &str, path: &str, earlier: u32) -> Reply {
    if let Some(n) = path.strip_prefix("/light/").and_then(|text| text.parse().ok())
        && (1..=config.pages).contains(&n)
    {
        return Reply::html(200, &title(n), &light(config, n));
    }
    if let Some(n) = path.strip_prefix("/keeper/") {
        return Reply::html(200, &format!("Keeper of No. {n}"), "<p>Lamp trimmed, log kept.</p>");
    }
    if let Some(n) = path.strip_prefix("/archive/") {
        return Reply::html(200, &format!("Archive box {n}"), "<p>Only the sitemap knows this page.</p>");
    }
    if config.lab
        && let Some(reply) = lab(base, path, earlier)
    {
        return reply;
    }
    match path {
        "/" => Reply::html(200, "The Lighthouse Register", &home(config)),
        "/robots.txt" => Reply::new(200, "text/plain", robots(config, base)),
        "/assets/site.css" => Reply::new(200, "text/css", STYLE),
        "/assets/mark.svg" => Reply::new(200, "image/svg+xml", MARK),
        "/poison" if config.poison => Reply::html(200, "Poison", "<p id=poison>This page kills its browser.</p>"),
        "/sitemap.xml" | "/sitemap-1.xml" | "/sitemap-2.xml.gz" if config.sitemaps => sitemap(base, path),
        _ if config.calendar && path.starts_with("/calendar") => calendar(path),
        _ => Reply::html(404, "No such light", "<p>Nothing is charted here.</p>"),
    }
}

/// Numbers that `/light/{n}` links to: its children in a tree of threes, and some cross links.
pub fn links_of(pages: u32, n: u32) -> Vec<u32> {
    let mut all: Vec<u32> = (3 * n - 1..=3 * n + 1).filter(|child| *child <= pages).collect();
    all.extend([n * 7 % pages + 1, n * 13 % pages + 1, n % pages + 1]);
    all
}

fn light(config: &Config, n: u32) -> String {
    let mut text = format!(
        "<p class=facts>First lit {}. Range {} miles. Character: {} flashes.</p><h2>Nearby</h2><ul>",
        1750 + n % 180,
        8 + n % 17,
        1 + n % 4
    );
    for other in links_of(config.pages, n) {
        let _ = write!(text, "<li><a href=\"/light/{other}\">{}</a>", title(other));
    }
    text.push_str("</ul><p><a href=\"/\">The register</a> · <a href=\"https://elsewhere.invalid/\">Elsewhere</a></p>");
    if let Some(link) = script_link(config, n) {
        let _ = write!(
            text,
            "<script>const a = document.createElement('a'); a.href = '{link}'; a.textContent = 'The keeper'; \
             document.body.append(a)</script>"
        );
    }
    text
}

fn home(config: &Config) -> String {
    let mut text = String::from("<p>Every light on the coast, with its keeper, its range and its neighbours.</p><ul>");
    if config.pages > 0 {
        let _ = write!(text, "<li><a href=\"/light/1\">{}</a>", title(1));
    }
    for (shown, link, label) in [
        (config.lab, "/lab/", "The workshop"),
        (config.calendar, "/calendar?m=1", "Tides by month"),
        (config.poison, "/poison", "Do not open"),
    ] {
        if shown {
            let _ = write!(text, "<li><a href=\"{link}\">{label}</a>");
        }
    }
    text + "</ul>"
}

fn lab(base: &str, path: &str, earlier: u32) -> Option<Reply> {
    let page = |title: &str| Reply::html(200, title, "<p>As it should be.</p>");
    Some(match path {
        "/lab/" => {
            let items: String = LAB.iter().map(|link| format!("<li><a href=\"{link}\">{link}</a>")).collect();
            Reply::html(200, "The workshop", &format!("<ul>{items}</ul>"))
        }
        "/lab/301" => Reply::redirect(301, "/lab/moved"),
        "/lab/302" => Reply::redirect(302, &format!("{base}/lab/found")),
        "/lab/chain" => Reply::redirect(302, "/lab/chain-2"),
        "/lab/chain-2" => Reply::redirect(307, "/lab/chain-3"),
        "/lab/chain-3" => Reply::redirect(308, "/lab/chain-end"),
        "/lab/loop" => Reply::redirect(302, "/lab/loop-2"),
        "/lab/loop-2" => Reply::redirect(302, "/lab/loop"),
        "/lab/away" => Reply::redirect(302, "https://elsewhere.invalid/landing"),
        "/lab/moved" | "/lab/found" | "/lab/chain-end" | "/lab/slow" | "/private/door" => page(path),
        "/lab/missing" => Reply::html(404, "Missing", ""),
        "/lab/gone" => Reply::html(410, "Gone", ""),
        "/lab/recovers-2nd" if earlier < 1 => Reply::html(500, "Trouble", ""),
        "/lab/recovers-3rd" if earlier < 2 => Reply::html(500, "Trouble", ""),
        "/lab/recovers-2nd" | "/lab/recovers-3rd" => page("Well again"),
        "/lab/broken" => Reply::html(500, "Broken", ""),
        "/lab/busy" if earlier < 1 => Reply::html(429, "Busy", "").with("retry-after", "1"),
        "/lab/busy" => page("Not busy"),
        "/lab/escapes" => page("\u{1b}[31mred\u{1b}[0m\u{7} \u{9b}2J \u{202e}desrever"),
        "/lab/huge" => page("Huge").grown(3 << 20),
        "/lab/file.zip" => Reply::new(200, "application/zip", vec![b'P'; 64])
            .with("content-disposition", "attachment; filename=\"file.zip\""),
        _ => return None,
    })
}

impl Reply {
    fn grown(mut self, bytes: usize) -> Self {
        while self.body.len() < bytes {
            self.body.extend_from_slice(b"<p>The sea is wide, and the night is long, and the lamp is lit.</p>\n");
        }
        self
    }
}

fn robots(config: &Config, base: &str) -> String {
    let sitemap = if config.sitemaps { format!("\nSitemap: {base}/sitemap.xml\n") } else { String::new() };
    format!("User-agent: *\nDisallow: /private/\n{sitemap}")
}

fn sitemap(base: &str, path: &str) -> Reply {
    const NAMESPACE: &str = "xmlns=\"http://www.sitemaps.org/schemas/sitemap/0.9\"";
    let entries = |range: std::ops::RangeInclusive<u32>| {
        let urls: String = range.map(|n| format!("<url><loc>{base}/archive/{n}</loc></url>")).collect();
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><urlset {NAMESPACE}>{urls}</urlset>")
    };
    let half = SITEMAP_PAGES / 2;
    match path {
        "/sitemap-1.xml" => Reply::new(200, "application/xml", entries(1..=half)),
        "/sitemap-2.xml.gz" => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            let packed = gzip.write_all(entries(half + 1..=SITEMAP_PAGES).as_bytes()).and_then(|()| gzip.finish());
            Reply::new(200, "application/gzip", packed.unwrap_or_default())
        }
        _ => Reply::new(
            200,
            "application/xml",
            format!(
                "<?xml version=\"1.0\"?><sitemapindex {NAMESPACE}><sitemap><loc>{base}/sitemap-1.xml</loc></sitemap>\
                 <sitemap><loc>{base}/sitemap-2.xml.gz</loc></sitemap></sitemapindex>"
            ),
        ),
    }
}

/// A month with links to the next and to every day: it never ends.
fn calendar(path: &str) -> Reply {
    let month: u64 = path.rsplit_once("m=").and_then(|(_, n)| n.parse().ok()).unwrap_or(1);
    let mut text = format!("<p><a href=\"/calendar?m={}\">Next month</a></p><ul>", month + 1);
    for day in 1..=28 {
        let _ = write!(text, "<li><a href=\"/calendar/day?d={day}&amp;m={month}\">{day}</a>");
    }
    Reply::html(200, &format!("Tides of month {month}"), &(text + "</ul>"))
}

fn document(title: &str, main: &str) -> String {
    format!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><title>{title}</title>\
         <meta name=viewport content=\"width=device-width\"><link rel=stylesheet href=/assets/site.css></head>\
         <body><header><img src=/assets/mark.svg alt=\"\" width=28 height=28> The Lighthouse Register</header>\
         <main><h1>{title}</h1>{main}</main></body></html>"
    )
}

const STYLE: &str = "body{font:17px/1.6 Georgia,serif;margin:0;color:#1d2b36;background:#f6f4ee}\
header{display:flex;gap:.6em;align-items:center;padding:.8em 1.2em;background:#12394f;color:#fff}\
main{max-width:42em;margin:2em auto;padding:0 1.2em}a{color:#0b6086}h1{font-weight:400}.facts{color:#5a6b75}";

const MARK: &str = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 28 28'><path fill='#f4c542' \
d='M14 2l5 8H9z'/><path fill='#fff' d='M10 11h8l2 15H8z'/></svg>";
