//! Tries the browser out, for `doctor`: a page must load and run its script, under the sandbox.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;

use chromiumoxide::Page;
use chromiumoxide::cdp::js_protocol::runtime::EvaluateParams;

use super::config::{BrowserConfig, BrowserError};
use super::instance::Instance;
use super::leftovers::Identity;
use super::pool;
use super::report::SelfTest;
use crate::model::ids::SessionId;
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
    let sandbox = instance.identity.as_ref().map_or(Sandbox { seccomp: false, namespace: false }, sandbox_of);
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

struct Sandbox {
    seccomp: bool,
    namespace: bool,
}

/// Looks at the renderers of a browser in /proc.
fn sandbox_of(browser: &Identity) -> Sandbox {
    let own = fs::read_link("/proc/self/ns/user").ok();
    let mut sandbox = Sandbox { seccomp: false, namespace: false };
    for pid in processes_of_group(browser.pid) {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if !line.split(|&byte| byte == 0 || byte == b' ').any(|arg| arg == b"--type=renderer") {
            continue;
        }
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mode = status.lines().find_map(|line| line.strip_prefix("Seccomp:"));
        sandbox.seccomp |= mode.is_some_and(|mode| mode.trim() == "2");
        // Not readable means another namespace as well: the kernel hides it from us.
        sandbox.namespace |= fs::read_link(format!("/proc/{pid}/ns/user")).ok() != own;
    }
    sandbox
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
