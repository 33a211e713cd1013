//! Bad input, and nothing to act on: one clear message, a documented exit code, nothing lost.

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{Crawld, World, skip};

fn world() -> World {
    World::new(Config::plain(3), Fetch::Http)
}

/// Runs a command that must fail with `code`, and say each of `words`.
#[track_caller]
fn check(args: &[&str], code: i32, words: &[&str]) {
    let ended = world().crawld(args).run();
    assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.said());
    let said = format!("{}{}", ended.stdout, ended.stderr);
    for word in words {
        assert!(said.contains(word), "{args:?} does not say `{word}`: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn mistakes_on_the_command_line() {
    check(&["frobnicate"], 2, &["frobnicate"]);
    check(&["crawl"], 2, &["URL"]);
    check(&["crawl", "ftp://127.0.0.1/"], 2, &["ftp"]);
    check(&["crawl", "not a url"], 2, &["not a url"]);
    check(&["crawl", "http://127.0.0.1:1/", "--delay", "soon"], 2, &["soon"]);
    check(&["crawl", "http://127.0.0.1:1/", "--include", "("], 2, &["("]);
    check(&["status", "../../etc/passwd"], 2, &["passwd"]);
    check(&["status", "--log-level", "loud"], 2, &["--log-level", "loud"]);
    check(&["run", "--tasks-dir", "/no/such/tasks"], 78, &["/no/such/tasks"]);
    check(&["import", "/no/such/file"], 5, &["no file"]);
    check(&["import", "/dev/null"], 78, &["no regular file"]);
}

#[test]
fn nothing_there_to_act_on() {
    check(&["recover"], 5, &["state"]);
    check(&["verify"], 5, &[]);
    check(&["pause", "session_1_abcdefgh"], 5, &[]);
}

#[test]
fn a_session_that_is_not_there_or_is_of_another_task_is_named() {
    let world = world();
    let odd = world.path().join("state\u{1b}[2J");
    let seed = world.site.at("/");
    let odd =
        Crawld::new(&world.path().join("logs"), &odd, &["crawl", &seed, "--fetch", "http", "--max-pages", "1"]).run();
    assert!(odd.stderr.contains("state in") && !odd.stderr.contains('\u{1b}'), "{}", odd.said());
    world.crawl().run().expect_code(0);
    let unknown = world.crawld(&["recover", "session_1_abcdefgh"]).run().expect_code(5);
    assert!(unknown.stderr.contains("no session `session_1_abcdefgh`"), "{}", unknown.said());
    let id = world.session();
    let status = world.crawld(&["status", &id, "--json"]).run().expect_code(0).json();
    assert!(status["active_seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{status}");
    let task = status["task_id"].as_str().expect("a task");
    world.crawld(&["status", &format!("{id}:{task}")]).run().expect_code(0);
    for words in [&["status"][..], &["verify"], &["recover"], &["pause"], &["export"]] {
        let key = format!("{id}:another");
        let mut args = [words, &[&key]].concat();
        if words == ["export"] {
            args.push("exported.tar.gz");
        }
        let wrong = world.crawld(&args).run().expect_code(5);
        assert!(wrong.stderr.contains(&key) && wrong.stderr.contains(task), "{}", wrong.said());
    }
}

#[test]
fn a_bad_configuration_is_named_with_its_place() {
    let world = world();
    let file = world.path().join("bad.toml");
    fs::write(&file, "no_such_key = 1\n").expect("write");
    let ended = world.crawld(&["config", "check"]).args(&["--config", &file.display().to_string()]).run();
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(78), "{said}");
    assert!(said.contains("no_such_key") && said.contains("bad.toml"), "{said}");
}

#[test]
fn a_bad_task_file_is_named_with_its_line() {
    let world = world();
    let file = world.path().join("bad.toml");
    fs::write(&file, "seeds = [\"http://127.0.0.1:1/\"]\n[limits]\nmax_pages = \"many\"\n").expect("write");
    let ended = world.crawld(&["crawl"]).args(&[&file.display().to_string()]).run();
    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.code, Some(78), "{said}");
    assert!(said.contains("bad.toml") && said.contains('3'), "{said}");
}

#[test]
fn root_without_a_word_about_the_sandbox_gets_no_browser() {
    if !skip::root() {
        return skip::because("commands::root_without_a_word_about_the_sandbox_gets_no_browser", "not root");
    }
    let world = world();
    let seed = world.site.at("/");
    let ended = world.crawld(&["crawl", &seed, "--fetch", "browser"]).run().expect_code(69);
    assert!(ended.stderr.contains("CRAWLD_NO_SANDBOX"), "{}", ended.said());
}

#[test]
fn robots_decisions_by_the_line() {
    let world = world();
    let rows = [("Disallow: /private/", "/private/x", false), ("Disallow: /private/", "/public", true)];
    let mut input: String = rows
        .iter()
        .enumerate()
        .map(|(id, (rule, path, _))| {
            let body = format!("User-agent: *\n{rule}\n");
            let url = format!("https://example.org{path}");
            let row = serde_json::json!({ "id": id, "body": body, "user_agent": "crawld", "url": url });
            format!("{row}\n")
        })
        .collect();
    let ask = |input: &[u8]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_crawld"));
        command.args(["robots", "test"]).current_dir(world.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        child.stdin.take().expect("piped").write_all(input).expect("write");
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stdout);
        let answers: Vec<serde_json::Value> =
            said.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
        assert_eq!(answers.len(), rows.len(), "{said}");
        for (answer, (_, _, allowed)) in answers.iter().zip(rows) {
            assert_eq!(answer["allowed"], allowed, "{answer}");
        }
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(ask(input.as_bytes()), (Some(0), String::new()));

    // What is no question is named by its line, and the others are answered all the same.
    let at = input.find('\n').expect("two lines") + 1;
    input.insert_str(at, "\n{\"id\":7}\nno\u{1b}[2Jthing\n{\"body\":\"\",\"user_agent\":\"a\",\"url\":\"ftp://a/\"}\n");
    let (code, said) = ask(input.as_bytes());
    assert_eq!(code, Some(78), "{said}");
    for words in ["line 3: missing field `body`", "line 4: expected ident", "line 5: `ftp://a/` is neither", "3 of 6"] {
        assert!(said.contains(words), "no `{words}` in {said}");
    }
    assert!(!said.contains('\u{1b}'), "{said:?}");
}

#[test]
fn a_browser_that_ends_at_once_is_quoted_by_doctor() {
    let world = world();
    // A program that names itself, and says that it does not know a browser's options.
    let program = world.path().join("ls\u{1b}[2J");
    fs::copy("/bin/ls", &program).expect("a copy");
    let doctor = world.crawld(&["doctor"]).env("CRAWLD_CHROME", &program);
    let ended = doctor.env("CRAWLD_NO_SANDBOX", "1").run().expect_code(69);
    for words in ["it ended by itself (exit status: 2); it said: ", "ls\\u{1b}[2J: unrecognized option"] {
        assert!(ended.stdout.contains(words), "no `{words}`: {}", ended.said());
    }
    assert!(!ended.stdout.contains('\u{1b}'), "{}", ended.said());
}

/// Every command of `--help`, by name.
fn commands(world: &World) -> Vec<String> {
    let help = world.crawld(&["--help"]).run().expect_code(0).stdout;
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let named =
        listed.take_while(|line| !line.is_empty()).filter(|line| line.starts_with("  ") && !line[2..].starts_with(' '));
    named.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[test]
fn completions_and_the_manual_know_every_command() {
    let world = world();
    let all = commands(&world);
    assert!(all.len() > 15 && all.iter().any(|name| name == "recover"), "{all:?}");
    for (shell, word) in [("bash", "complete -F"), ("zsh", "#compdef crawld"), ("fish", "complete -c crawld")] {
        let script = world.crawld(&["completions", shell]).run().expect_code(0).stdout;
        assert!(script.contains(word), "{shell}: {script}");
        for name in all.iter().filter(|name| *name != "help") {
            assert!(script.contains(name.as_str()), "{shell} does not know `{name}`");
        }
    }
    let page = world.crawld(&["man"]).run().expect_code(0).stdout;
    assert!(page.contains(".TH crawld 1") && page.contains(".SH SYNOPSIS"), "{page}");
    for name in all.iter().filter(|name| *name != "help") {
        // A hyphen is written `\-` in roff.
        let name = name.replace('-', "\\-");
        assert!(page.contains(&format!(".SS crawld {name}")), "the manual does not know `{name}`");
        assert!(!page.contains(&format!("crawld\\-{name}(1)")), "there is no such page");
    }
    for part in ["\\-\\-max\\-pages N", "\\-\\-strategy", "CRAWLD_CHROME", "CRAWLD_NO_SANDBOX", ".SH EXIT STATUS"] {
        assert!(page.contains(part), "the manual lacks {part}");
    }
    assert!(page.contains(".SS crawld robots test") && page.contains(".SS crawld config check"), "{page}");
    check(&["completions", "tcsh"], 2, &["tcsh", "bash"]);
}

#[test]
fn a_task_file_anywhere_is_checked_without_a_crawl() {
    let world = world();
    let (good, bad) = (world.path().join("good.toml"), world.path().join("bad.toml"));
    fs::write(&good, "seeds = [\"http://a.example/\"]\n").expect("a file");
    fs::write(&bad, "seeds = [\"http://a.example/\"]\n[scope]\nmax_dept = 1\n").expect("a file");
    let check = |files: &[&std::path::Path]| {
        let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
        world.crawld(&["config", "check"]).args(&files.iter().map(String::as_str).collect::<Vec<_>>()).run()
    };
    assert!(check(&[&good]).expect_code(0).stdout.contains("task files: 1, all good"));
    let ended = check(&[&good, &bad]).expect_code(78);
    assert!(ended.stderr.contains("bad.toml:3: scope.max_dept: unknown key"), "{}", ended.said());
}

#[test]
fn the_reach_of_a_crawl_has_its_defaults_in_the_configuration() {
    let world = world();
    let show = world.crawld(&["config", "show"]).env("CRAWLD_SCOPE", "prefix").env("CRAWLD_MAX_DEPTH", "3");
    let ended = show.env("CRAWLD_SCOP", "page").run().expect_code(0);
    let line = |key: &str| ended.stdout.lines().find(|line| line.starts_with(key)).unwrap_or_default().to_owned();
    assert!(line("scope").contains("prefix") && line("scope").contains("CRAWLD_SCOPE"), "{}", ended.said());
    assert!(line("max_depth").contains('3'), "{}", ended.said());
    assert!(ended.stderr.contains("CRAWLD_SCOP: ignored: unknown key: did you mean `scope`?"), "{}", ended.said());
}

#[test]
fn doctor_looks_at_the_file_system_on_which_a_state_directory_would_be_made() {
    let world = world();
    let place = std::path::Path::new("/dev/shm");
    if !place.is_dir() {
        return skip::because("doctor on tmpfs", "there is no /dev/shm");
    }
    let state = place.join("crawld-not-made-yet");
    let doctor = Crawld::new(world.path(), &state, &["doctor"]).env("CRAWLD_CHROME", "/none");
    let said = doctor.run().stdout;
    assert!(said.contains("will be made") && said.contains("nothing in it survives a reboot"), "{said}");
    assert!(!state.exists());
}

#[test]
fn a_group_that_is_not_there_is_named_by_config_check() {
    let world = world();
    let ended = world.crawld(&["config", "check"]).env("CRAWLD_STATE_GROUP", "no-such-group").run().expect_code(78);
    for word in ["state_group", "no-such-group", "/etc/group"] {
        assert!(ended.stderr.contains(word), "{word}: {}", ended.said());
    }
}
