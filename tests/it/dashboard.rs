//! The dashboard in a real Chromium, before a real daemon that crawls a site which means no good.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::site::Config;
use crate::support::looker::Looker;
use crate::support::small::{Answer, Small};
use crate::support::world::Fetch;
use crate::support::{Child, World, poll};

/// Pages of the site: enough for a crawl that outlasts a look at it.
const PAGES: u32 = 4_000;

/// Titles that would like to be more than text.
fn title(page: u32) -> String {
    match page % 6 {
        0 => "</title><script>window.pwned = 1</script>".replace('<', "&lt;"),
        1 => "&lt;img src=x onerror=\"window.pwned=1\"&gt;".to_owned(),
        2 => "&#x202E;gnp.live&#x2066; &#x1b;[31m&#x7;&#x200B;bell".to_owned(),
        3 => "W".repeat(100_000),
        4 => format!("Z{}", "&#x341;".repeat(500)),
        _ => "{{7*7}} ${7*7} &amp;lt;b&amp;gt; &lt;/bdi&gt;&lt;style&gt;*{display:none}&lt;/style&gt;".to_owned(),
    }
}

/// A site whose every page leads to the next ones.
fn hostile() -> Small {
    Small::start(|_, path| {
        let number =
            path.strip_prefix("/p/").map_or(Some(0), |rest| rest.split(['?', '%']).next()?.parse::<u32>().ok())?;
        if path == "/robots.txt" {
            return None;
        }
        let spice = ["?q=%3Cscript%3Ewindow.pwned=1%3C/script%3E", "", "%E2%80%AEgnp"];
        let next = (1..=4).map(|step| number * 4 + step).filter(|next| *next < PAGES);
        let links: String =
            next.map(|next| format!("<a href=\"/p/{next}{}\">x</a>", spice[next as usize % 3])).collect();
        let body = format!("<!doctype html><title>{}</title><h1>page {number}</h1>{links}", title(number));
        Some(Answer::of("text/html; charset=utf-8", body).after(Duration::from_millis(150)))
    })
}

/// A daemon that serves its API over TCP: itself, its address, and its token.
fn daemon(world: &World) -> (Child, String, String) {
    let run = world.crawld(&["run"]).env("CRAWLD_TASKS_DIR", world.path()).env("CRAWLD_API_LISTEN", "127.0.0.1:0");
    let mut daemon = run.spawn();
    let address = poll::expect("the API's address", Duration::from_secs(30), || {
        assert!(!daemon.has_ended(), "{}", daemon.said());
        fs::read_to_string(world.state.join("api-address")).ok().filter(|text| text.ends_with('\n'))
    });
    let token = fs::read_to_string(world.state.join("api-token")).expect("a token");
    (daemon, address.trim().to_owned(), token.trim().to_owned())
}

/// Hands the daemon a crawl of the site.
#[track_caller]
fn submit(world: &World, site: &Small, mode: &str) {
    let file = world.path().join("hostile.toml");
    let seed = format!("{}/p/0", site.base);
    // With a window of its own a page's frames are drawn.
    let window = if mode == "browser" { "viewport = \"640x480\"\n" } else { "" };
    let pace = "[politeness]\ndelay = \"0ms\"\nper_host = 3\n";
    fs::write(&file, format!("seeds = [\"{seed}\"]\n[fetch]\nmode = \"{mode}\"\n{window}{pace}")).expect("a task file");
    world.crawld(&["submit", &file.display().to_string()]).run().expect_code(0);
}

/// Logs in as a person does.
fn log_in(look: &mut Looker, base: &str, token: &str) {
    look.go(base);
    look.until("the page that asks for the token", "document.querySelector('input[name=token]')");
    look.eval(
        "document.querySelector('input[name=token]').value = 'wrong'; document.querySelector('form').requestSubmit()",
    );
    look.until("a word about the wrong token", "document.querySelector('[role=alert]')");
    let fill = format!(
        "document.querySelector('input[name=token]').value = {}; document.querySelector('form').requestSubmit()",
        json!(token)
    );
    look.eval(&fill);
    look.until("the dashboard", "document.querySelector('h1')?.textContent === 'Sessions'");
    // What was refused before the login is no fault of the dashboard.
    look.wrong.clear();
}

/// Nothing was run, nothing is broader than the window, nothing went wrong, and nobody else was asked.
#[track_caller]
fn check_calm(look: &mut Looker, base: &str, place: &str) {
    assert_eq!(look.eval("window.pwned === undefined"), true, "{place}: text of a page was run");
    let widths = look.eval("[document.documentElement.scrollWidth, innerWidth]");
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{place}: scrolls to the side, {widths}");
    assert_eq!(look.wrong, Vec::<String>::new(), "{place}");
    let own =
        [format!("{base}/"), format!("{}/", base.replacen("http", "ws", 1)), "about:blank".to_owned(), base.to_owned()];
    let foreign: Vec<_> = look.asked.iter().filter(|url| !own.iter().any(|own| url.starts_with(own))).collect();
    assert!(foreign.is_empty() && !look.asked.is_empty(), "{place}: asked elsewhere: {foreign:?}");
}

#[test]
fn a_hostile_crawl_is_watched_and_steered_and_its_texts_are_only_text() {
    let world = World::new(Config::plain(1), Fetch::Chromium);
    let site = hostile();
    let (_daemon, base, token) = daemon(&world);
    submit(&world, &site, "browser");
    let session = world.session();
    let mut look = Looker::start();
    look.window(1280, 900, false);
    log_in(&mut look, &base, &token);

    look.until("the session's card", "document.querySelector('.session-card')");
    look.window(360, 800, true);
    look.until("progress", "/[1-9]/.test(document.querySelector('.session-card .now').textContent)");
    check_calm(&mut look, &base, "the list on a telephone");
    look.eval("document.querySelector('.session-card a').click()");
    look.until("the session", "document.querySelector('[data-action=pause]')");
    let here = look.eval("location.hash");
    assert_eq!(here, json!(format!("#/s/{session}")));

    let titles = "[...document.querySelectorAll('.feed-title')].map((node) => node.textContent)";
    for part in ["onerror", "</title><script>", "\u{27e8}U+202E\u{27e9}gnp.live", "WWWW", "</bdi><style>"] {
        look.until(part, &format!("{titles}.some((title) => title.includes({}))", json!(part)));
    }
    look.until(
        "a bidi URL",
        "[...document.querySelectorAll('.feed-url')].some((node) => node.textContent.includes('%E2%80%AE'))",
    );
    let longest = look.eval(&format!("Math.max(...{titles}.map((title) => title.length))"));
    assert!(longest.as_u64().is_some_and(|length| length <= 200), "a title of {longest} characters");
    let raw =
        look.eval("/[\\u202A-\\u202E\\u2066-\\u2069\\u200B\\u0007\\u001b]/.test(document.documentElement.outerHTML)");
    assert_eq!(raw, false, "a character that acts");
    assert_eq!(look.eval("document.querySelectorAll('main img[src=x], main script, main style').length"), 0);
    check_calm(&mut look, &base, "the session on a telephone");

    look.window(1280, 900, false);
    look.eval("const tabs = document.querySelector('.tabs-card'); tabs.open = true; tabs.scrollIntoView()");
    look.until("what a tab shows", "document.querySelector('.tabs li .theirs')");
    look.until(
        "a picture of it",
        "[...document.querySelectorAll('.frame img')].some((image) => image.naturalWidth > 0)",
    );
    check_calm(&mut look, &base, "the tabs");
    look.eval("document.querySelector('.tabs-card').open = false; scrollTo(0, 0)");

    look.eval("document.querySelector('[data-action=pause]').click()");
    look.until("the pause", "document.querySelector('h1 + .chip').dataset.status === 'paused'");
    assert_eq!(status(&world, &session), "paused");
    look.eval("document.querySelector('[data-action=resume]').click()");
    look.until("the resumption", "document.querySelector('h1 + .chip').dataset.status === 'active'");
    look.eval("document.querySelector('[data-action=checkpoint]').click()");
    look.until(
        "a word about the checkpoint",
        "/Checkpoint \\d+ is written/.test(document.querySelector('#toasts').textContent)",
    );

    // What takes something away asks first, and Enter takes nothing.
    look.eval("document.querySelector('[data-action=cancel]').click()");
    look.until("the question", "document.querySelector('dialog[open]')");
    look.press("Enter");
    look.until("no question any more", "!document.querySelector('dialog')");
    assert_eq!(status(&world, &session), "active");
    look.eval("document.querySelector('[data-action=cancel]').click()");
    look.until("the question", "document.querySelector('dialog[open]')");
    look.eval("document.querySelector('dialog .danger').click()");
    look.until("the end", "document.querySelector('h1 + .chip').dataset.status === 'cancelled'");
    assert_eq!(status(&world, &session), "cancelled");
    check_calm(&mut look, &base, "the orders");
}

/// By the command line, which does not know what the dashboard shows.
fn status(world: &World, session: &str) -> String {
    let told = world.crawld(&["status", session, "--json"]).run().json();
    told["status"].as_str().map(str::to_owned).unwrap_or_else(|| panic!("no status in {told}"))
}

#[test]
fn everything_is_reached_with_the_keyboard_and_has_a_name() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let site = hostile();
    let (_daemon, base, token) = daemon(&world);
    submit(&world, &site, "http");
    let session = world.session();
    let mut look = Looker::start();
    look.window(1280, 900, true);
    log_in(&mut look, &base, &token);
    look.go(&format!("{base}/#/s/{session}"));
    look.until("the session", "document.querySelector('[data-action=cancel]')");
    look.eval("document.activeElement.blur(); scrollTo(0, 0)");
    let mut reached = Vec::new();
    for _ in 0..60 {
        look.press("Tab");
        let here = "(() => { const a = document.activeElement; const s = getComputedStyle(a); return [a.dataset.action ?? a.className?.baseVal ?? a.className, \
            a.tagName, a === document.body || (a.matches(':focus-visible') && s.outlineStyle !== 'none' && s.outlineWidth !== '0px')] })()";
        let now = look.eval(here);
        assert_eq!(now[2], true, "no mark of the focus on {now}");
        reached.push(format!("{} {}", now[0].as_str().unwrap_or_default(), now[1].as_str().unwrap_or_default()));
    }
    for wanted in [
        "skip A",
        "brand A",
        "pause BUTTON",
        "checkpoint BUTTON",
        "seeds BUTTON",
        "cancel BUTTON",
        "chart series-rate svg",
        "feed OL",
    ] {
        assert!(reached.iter().any(|one| one == wanted), "{wanted} is not reached: {reached:?}");
    }
    // What the accessibility tree tells of everything that can be used.
    let tree = look.ask("Accessibility.getFullAXTree", json!({}));
    let nodes = tree["nodes"].as_array().expect("nodes");
    let of = |node: &Value, what: &str| node[what]["value"].as_str().unwrap_or_default().to_owned();
    let usable =
        ["button", "link", "combobox", "textbox", "checkbox", "meter", "progressbar", "image", "region", "table"];
    for node in nodes.iter().filter(|node| node["ignored"] == false && usable.contains(&of(node, "role").as_str())) {
        let decorated = of(node, "role") == "table";
        assert!(decorated || !of(node, "name").trim().is_empty(), "a {} without a name: {node}", of(node, "role"));
    }
    for role in ["banner", "main", "navigation", "heading", "log", "status"] {
        assert!(nodes.iter().any(|node| of(node, "role") == role), "no {role}");
    }
    check_calm(&mut look, &base, "the keyboard");
}

#[test]
fn its_event_connection_comes_back_by_the_rules_and_cannot_loop() {
    let world = World::new(Config::plain(1), Fetch::Http);
    let (_daemon, base, token) = daemon(&world);
    let mut look = Looker::start();
    log_in(&mut look, &base, &token);
    let script = |body: &str| format!("import('/assets/reconnect.js').then((rules) => {{ {body} }})");
    // Ends of one kind in a row, with the dice at their highest: the pauses, then the stop.
    let pauses = |look: &mut Looker, code: u32, reason: &str| {
        let body = format!(
            "let memory = rules.fresh(); const told = []; for (let n = 0; n < 30; n += 1) {{ memory = rules.trying(memory); \
             const next = rules.after(memory, {code}, {}, 1); memory = next.memory; told.push(next.wait ?? next.stop ?? 'login'); \
             if (!next.wait) break; }} return told;",
            json!(reason)
        );
        look.eval(&script(&body))
    };
    let lost = json!([1, 2, 4, 8, 32, 32, 32, 32, 32, 32, "gave_up"]);
    assert_eq!(pauses(&mut look, 1006, ""), lost);
    assert_eq!(pauses(&mut look, 4103, ""), lost);
    assert_eq!(pauses(&mut look, 3999, ""), lost);
    assert_eq!(pauses(&mut look, 1000, ""), json!([1, 2, 4, 8, 16, 30, 30, 30, 30, 30, "gave_up"]));
    assert_eq!(pauses(&mut look, 4100, "retry_after=45"), json!([45, 45, 45, 45, 45, 45, 45, 45, 45, 45, "gave_up"]));
    assert_eq!(pauses(&mut look, 4102, ""), json!(["too_many_reconnections"]));
    assert_eq!(pauses(&mut look, 4104, ""), json!(["unknown_session"]));
    assert_eq!(pauses(&mut look, 4105, ""), json!(["session_ended"]));
    assert_eq!(pauses(&mut look, 4106, ""), json!(["login"]));
    let least = look.eval(&script("return rules.after(rules.fresh(), 1006, '', 0).wait"));
    assert_eq!(least, 0.5, "half of the pause at least");
    let names = look.eval(&script(
        "return [1000, 1001, 4100, 4101, 4102, 4103, 4104, 4105, 4106].map((code) => rules.code(code).name)",
    ));
    let expected = [
        "normal",
        "going_away",
        "circuit_open",
        "half_open_busy",
        "too_many_reconnections",
        "slow_reader",
        "unknown_session",
        "session_ended",
        "not_authorised",
    ];
    assert_eq!(names, json!(expected));
    let text = look.eval("import('/assets/text.js').then(({ visible }) => [visible('a\\u202Eb\\u0000\\ud800').text, visible('x'.repeat(100000), 10).text, visible(null).text])");
    assert_eq!(text, json!(["a\u{27e8}U+202E\u{27e9}b\u{27e8}U+0000\u{27e9}\u{fffd}", "xxxxxxxxxx\u{2026}", ""]));
}
