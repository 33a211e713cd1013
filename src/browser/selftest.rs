//! Tries the browser out, for `doctor`: a page must load and run its script, under the sandbox.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use chromiumoxide::Page;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;

use super::config::{BrowserConfig, BrowserError};
use super::instance::Instance;
use super::pool;
use super::report::SelfTest;
use crate::model::ids::SessionId;
use crate::model::session::SelfTestResult;
use crate::policy::tab_kind::TabKind;

/// Writes a document and lets a script in it compute: asking for the version alone would not notice
/// a renderer that cannot run code.
const TRIAL: &str = "(() => { document.open(); \
     document.write('<p id=p>0</p><script>document.getElementById(\"p\").textContent = String(6 * 7)</' + 'script>'); \
     document.close(); return document.getElementById('p').textContent; })()";

/// Launches a browser, loads a built-in page, and looks at the sandbox.
///
/// # Errors
/// When no browser comes up at all; everything less is in `SelfTest::problems`.
pub async fn self_test(config: BrowserConfig) -> Result<SelfTest, BrowserError> {
    let executable = pool::check(&config)?;
    let instance = Instance::launch(&config, &executable).await?;
    let mut problems = Vec::new();
    let script_ran = match trial(&instance).await {
        Ok(true) => true,
        Ok(false) => {
            problems.push("the built-in page loaded, but its script did not run".to_owned());
            false
        }
        Err(error) => {
            problems.push(format!(
                "the built-in page did not load ({error}); under systemd check that MemoryDenyWriteExecute is off and \
                 SystemCallFilter allows `@system-service chroot`"
            ));
            false
        }
    };
    let sandbox = instance.identity.as_ref().and_then(|browser| sandbox_of(browser.pid)).unwrap_or_default();
    // Of somebody else's browser nothing can be seen, and nothing is ours to ask for.
    if !config.no_sandbox && config.attach.is_none() {
        if !sandbox.seccomp {
            problems.push("no renderer runs under seccomp filters: the browser's sandbox is not in force".to_owned());
        }
        if !sandbox.namespace {
            problems.push(
                "the renderer has no user namespace of its own: allow unprivileged user namespaces, and \
                 `user pid net` in RestrictNamespaces"
                    .to_owned(),
            );
        }
    }
    let report = SelfTest {
        executable,
        attached: config.attach.clone(),
        version: instance.version.clone(),
        launch_ms: instance.launch_time.as_millis() as u64,
        script_ran,
        renderer_seccomp: sandbox.seccomp,
        renderer_namespace: sandbox.namespace,
        unparsed_messages: instance.unparsed.load(Ordering::Relaxed),
        problems,
    };
    instance.end(true).await;
    Ok(report)
}

async fn trial(instance: &Instance) -> Result<bool, BrowserError> {
    let session = SessionId::new(0, 0);
    let page: Page = instance.new_page(&session, None, TabKind::Ordinary).await?;
    let evaluate = EvaluateParams { return_by_value: Some(true), ..EvaluateParams::new(TRIAL) };
    let answer = instance.step("Runtime.evaluate", page.execute(evaluate)).await?;
    Ok(answer.result.result.value.as_ref().and_then(|value| value.as_str()) == Some("42"))
}

/// What of a sandbox is seen at a browser's renderers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sandbox {
    seccomp: bool,
    namespace: bool,
}

/// The self-test of a browser that crawls, after a page has come through it: it costs no page of its own and nobody
/// waits for it. `None` while nothing can be said.
pub(super) async fn glance(config: &BrowserConfig, browser: Option<u32>) -> Option<SelfTestResult> {
    let sandbox = match browser.filter(|_| !config.no_sandbox) {
        Some(pid) => tokio::task::spawn_blocking(move || sandbox_of(pid)).await.ok().flatten(),
        None => None,
    };
    verdict(config.attach.is_some(), config.no_sandbox, sandbox)
}

fn verdict(attached: bool, no_sandbox: bool, seen: Option<Sandbox>) -> Option<SelfTestResult> {
    match (attached, no_sandbox, seen) {
        (true, ..) => Some(SelfTestResult::Attached),
        (false, true, _) => Some(SelfTestResult::SandboxOff),
        (false, false, Some(Sandbox { seccomp: true, namespace: true })) => Some(SelfTestResult::Sandboxed),
        (false, false, Some(_)) => Some(SelfTestResult::NotInForce),
        (false, false, None) => None,
    }
}

/// Looks at the renderers of a browser in /proc; `None` when it has none at the moment.
fn sandbox_of(browser: u32) -> Option<Sandbox> {
    let own = fs::read_link("/proc/self/ns/user").ok();
    let mut found = None;
    for pid in processes_of_group(browser) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !line.split(|&byte| byte == 0 || byte == b' ').any(|arg| arg == b"--type=renderer") {
            continue;
        }
        let sandbox: &mut Sandbox = found.get_or_insert_default();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        sandbox.seccomp |= mode.is_some_and(|mode| mode.trim() == "2");
        // Not readable means another namespace as well: the kernel hides it from us.
        sandbox.namespace |= fs::read_link(format!("/proc/{pid}/ns/user")).ok() != own;
    }
    found
}

/// Bytes of a browser's processes: what each has for itself, and the largest part that they share.
pub(super) fn memory_of_group(group: u32) -> u64 {
    let of = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let kib = |name: &str| -> Option<u64> {
            text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
        };
        Some((kib("RssAnon:")? << 10, kib("RssFile:")? << 10))
    };
    let parts: Vec<(u64, u64)> = processes_of_group(group).iter().filter_map(of).collect();
    parts.iter().map(|(own, _)| own).sum::<u64>() + parts.iter().map(|(_, shared)| *shared).max().unwrap_or(0)
}

fn processes_of_group(group: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse::<u32>().ok());
    pids.filter(|pid| group_of(Path::new("/proc").join(pid.to_string()).as_path()) == Some(group)).collect()
}

/// Field 5 of `/proc/{pid}/stat`.
fn group_of(process: &Path) -> Option<u32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_of_a_browser_is_judged_by_what_was_asked_for() {
        #[track_caller]
        fn check(name: &str, [attached, no_sandbox]: [bool; 2], seen: Option<(bool, bool)>, expected: Option<&str>) {
            let seen = seen.map(|(seccomp, namespace)| Sandbox { seccomp, namespace });
            assert_eq!(verdict(attached, no_sandbox, seen).map(SelfTestResult::as_str), expected, "{name}");
        }
        check("all is on", [false, false], Some((true, true)), Some("sandboxed"));
        check("no filters", [false, false], Some((false, true)), Some("sandbox_not_in_force"));
        check("no namespace", [false, false], Some((true, false)), Some("sandbox_not_in_force"));
        check("no renderer at the moment", [false, false], None, None);
        check("switched off", [false, true], None, Some("sandbox_off"));
        check("somebody else's", [true, false], None, Some("attached"));
    }
}
