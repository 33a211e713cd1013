//! Chromium's command line.

use std::net::SocketAddr;
use std::path::Path;

use super::config::{BrowserConfig, BrowserError};

/// Switches of every launch, without values that depend on the launch.
const ALWAYS: &[&str] = &[
    // Nothing on the network that no page asked for.
    "--disable-background-networking",
    "--disable-client-side-phishing-detection",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-field-trial-config",
    "--disable-sync",
    "--metrics-recording-only",
    "--no-default-browser-check",
    "--no-first-run",
    "--no-pings",
    "--dns-prefetch-disable",
    // No way around a proxy or the name checks.
    "--disable-quic",
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    // Windows that a page opens would ask for documents before anybody could judge them.
    "--block-new-web-contents",
    // Tabs that nobody looks at work at full speed.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-hang-monitor",
    // Nothing of the desktop, nothing left behind.
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-dev-shm-usage",
    "--disable-notifications",
    "--disable-print-preview",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-service-autorun",
    "--password-store=basic",
    "--use-mock-keychain",
    "--window-size=1280,1024",
    // RenderDocument gives every page of a tab a frame host of its own, also within a site: a fifth of a page's cost.
    "--disable-features=BackForwardCache,Prerender2,Translate,OptimizationHints,MediaRouter,DialMediaRouteProvider,InterestFeedContentSuggestions,CertificateTransparencyComponentUpdater,AutofillServerCommunication,HttpsUpgrades,HttpsFirstBalancedModeAutoEnable,RenderDocument",
];

/// Beginnings of switches that the operator may not add: they weaken the sandbox or the isolation
/// of sites, open the browser to other programs, or replace what crawld itself sets.
const FORBIDDEN: &[&str] = &[
    "--no-sandbox",
    "--disable-setuid-sandbox",
    "--disable-namespace-sandbox",
    "--disable-seccomp-filter-sandbox",
    "--disable-gpu-sandbox",
    "--single-process",
    "--no-zygote",
    "--disable-web-security",
    "--allow-running-insecure-content",
    "--ignore-certificate-errors",
    "--allow-file-access",
    "--remote-debugging",
    "--remote-allow-origins",
    "--user-data-dir",
    "--load-extension",
    "--enable-begin-frame-control",
    "--renderer-cmd-prefix",
    "--utility-cmd-prefix",
    "--browser-subprocess-path",
    "--proxy",
    "--no-proxy",
    "--host-resolver",
    "--host-rules",
    "--ignore-urlfetcher",
    "--enable-quic",
    "--quic",
    "--origin-to-force-quic-on",
    "--webtransport",
    "--webrtc",
    "--force-webrtc",
    "--enable-features",
    "--disable-features",
    "--enable-blink-features",
    "--unsafely",
    "--ssl-key-log-file",
    "--log-net-log",
];

/// The name under which the browser knows its proxies: the only one that it can resolve by itself, and
/// one that nobody else can resolve (RFC 2606).
const PROXY_NAME: &str = "egress.crawld.invalid";

/// Takes back Chromium's exception for loopback and link-local addresses, which would go around a proxy.
pub(super) const NO_BYPASS: &str = "<-loopback>";

/// A proxy on 127.0.0.1 as Chromium takes it, on the command line and for a context.
pub(super) fn proxy_server(address: SocketAddr) -> String {
    format!("http://{PROXY_NAME}:{}", address.port())
}

/// Refuses extra switches that may not be set, and words that are no switches.
pub(super) fn check_extra(extra: &[String]) -> Result<(), BrowserError> {
    let bad = |arg: &String| {
        !arg.starts_with("--") || arg.len() < 4 || FORBIDDEN.iter().any(|forbidden| arg.starts_with(forbidden))
    };
    match extra.iter().find(|arg| bad(arg)) {
        Some(arg) => Err(BrowserError::ForbiddenSwitch(arg.clone())),
        None => Ok(()),
    }
}

/// The lean headless shell, which alone can hold back frames.
pub(super) fn is_shell(executable: &Path) -> bool {
    executable.file_name().is_some_and(|name| name.to_string_lossy().contains("headless"))
}

/// The whole command line of a launch.
///
/// `nowhere` is an address that answers nobody: what belongs to no session's context goes there.
pub(super) fn command_line(
    config: &BrowserConfig,
    executable: &Path,
    profile: &Path,
    nowhere: SocketAddr,
) -> Vec<String> {
    let mut args: Vec<String> = ALWAYS.iter().map(|&arg| arg.to_owned()).collect();
    if is_shell(executable) {
        args.push("--headless".into());
        // For tabs whose frames are not drawn. With --enable-begin-frame-control every tab would be one.
        args.push("--run-all-compositor-stages-before-draw".into());
    } else {
        args.push("--headless=new".into());
    }
    args.push("--remote-debugging-pipe".into());
    args.push(format!("--user-data-dir={}", profile.display()));
    if config.no_sandbox {
        args.push("--no-sandbox".into());
    }
    args.push(format!("--proxy-server={}", proxy_server(nowhere)));
    args.push(format!("--proxy-bypass-list={NO_BYPASS}"));
    // Nothing but the proxy's own name leads to an address, literal addresses included: a connection
    // that went around the proxy would have nowhere to go.
    args.push(format!("--host-resolver-rules=MAP {PROXY_NAME} 127.0.0.1,MAP * ~NOTFOUND"));
    args.extend(config.extra_args.iter().cloned());
    args.push("about:blank".into());
    args
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn switches_that_weaken_the_browser_are_refused() {
        #[track_caller]
        fn check(arg: &str, good: bool) {
            assert_eq!(check_extra(&[arg.to_owned()]).is_ok(), good, "{arg}");
        }
        check("--lang=de", true);
        check("--force-device-scale-factor=2", true);
        check("--no-sandbox", false);
        check("--remote-debugging-port=9222", false);
        check("--ignore-certificate-errors-spki-list=x", false);
        check("--proxy-server=direct://", false);
        check("--proxy-bypass-list=*", false);
        check("--proxy-pac-url=http://x/", false);
        check("--no-proxy-server", false);
        check("--host-resolver-rules=MAP * 127.0.0.1", false);
        check("--force-webrtc-ip-handling-policy=default", false);
        check("--disable-features=X", false);
        check("https://example.org", false);
        check("--", false);
    }

    #[test]
    fn the_sandbox_goes_only_by_explicit_setting() {
        let mut config = BrowserConfig::new(PathBuf::from("/p"));
        let line = |config: &BrowserConfig| {
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
            command_line(config, Path::new("/usr/lib/chromium/chromium-headless-shell"), Path::new("/p/x"), nowhere)
        };
        assert!(!line(&config).contains(&"--no-sandbox".to_owned()));
        config.no_sandbox = true;
        let args = line(&config);
        assert!(args.contains(&"--no-sandbox".to_owned()));
        assert!(args.contains(&"--user-data-dir=/p/x".to_owned()));
        assert!(args.contains(&"--remote-debugging-pipe".to_owned()));
        assert!(args.contains(&"--proxy-server=http://egress.crawld.invalid:9".to_owned()));
        assert!(args.contains(&"--proxy-bypass-list=<-loopback>".to_owned()));
    }
}
