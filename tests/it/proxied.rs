//! A task's proxy: everything goes through it, by plain HTTP and by browser, and without it nothing goes anywhere.

use std::fs;
use std::io::{Read, Write, copy};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::site::Config;
use crate::support::world::Fetch;
use crate::support::{World, child, poll};

/// A SOCKS5 proxy that wants `me` and `sesame`, and counts its connections.
fn proxy() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("socks5://{}", listener.local_addr().expect("its address"));
    let made = Arc::<AtomicU32>::default();
    let count = made.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || drop(serve(stream, &count)));
        }
    });
    (url, made)
}

fn serve(mut browser: TcpStream, made: &AtomicU32) -> std::io::Result<()> {
    let mut bytes = [0; 11];
    browser.read_exact(&mut bytes[..4])?;
    browser.write_all(&[5, 2])?;
    browser.read_exact(&mut bytes)?;
    let welcome = &bytes == b"\x01\x02me\x06sesame";
    browser.write_all(&[1, u8::from(!welcome)])?;
    // Asked for an IPv4 address: a name would be answered by nobody.
    browser.read_exact(&mut bytes[..10])?;
    let (ip, port) = ([bytes[4], bytes[5], bytes[6], bytes[7]], u16::from_be_bytes([bytes[8], bytes[9]]));
    if !welcome || bytes[3] != 1 {
        return Ok(());
    }
    let mut site = TcpStream::connect(SocketAddr::from((Ipv4Addr::from(ip), port)))?;
    made.fetch_add(1, Ordering::SeqCst);
    browser.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    let (mut from_site, mut to_browser) = (site.try_clone()?, browser.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = copy(&mut from_site, &mut to_browser);
        let _ = to_browser.shutdown(Shutdown::Write);
    });
    let _ = copy(&mut browser, &mut site);
    let _ = site.shutdown(Shutdown::Write);
    let _ = back.join();
    Ok(())
}

fn task(world: &World, mode: &str, url: &str) -> String {
    let file = world.path().join("proxied.toml");
    let task = format!(
        "seeds = [\"{}\"]\n[politeness]\ndelay = \"0ms\"\nper_host = 4\n[fetch]\nmode = \"{mode}\"\ntabs = 4\n\
         [fetch.proxy]\nurl = \"{url}\"\nuser = \"me\"\npassword = \"env:IT_PROXY_PW\"\n",
        world.site.at("/")
    );
    fs::write(&file, task).expect("a task file");
    file.display().to_string()
}

#[track_caller]
fn goes_through(fetch: Fetch, mode: &str) {
    let world = World::new(Config::plain(12), fetch);
    let (url, made) = proxy();
    let crawl = || world.crawld(&["crawl", &task(&world, mode, &url), "--json", "--quiet"]);
    // The proxy refuses: no page is asked for, and none is lost by it.
    let mut refused = crawl().env("IT_PROXY_PW", "wrong!").spawn();
    poll::expect("a visit that failed", Duration::from_secs(60), || {
        assert!(!refused.has_ended(), "{}", refused.said());
        let session = world.sessions().pop()?;
        let beat = world.crawld(&["status", &session, "--json"]).run();
        beat.stdout.contains("(proxy)").then_some(())
    });
    refused.kill();
    assert!(world.site.hits().is_empty() && made.load(Ordering::SeqCst) == 0, "{:?}", world.site.hits());
    let last = crawl().env("IT_PROXY_PW", "sesame").spawn().wait(child::PATIENCE).expect_code(0);
    world.check_complete(&last);
    assert!(made.load(Ordering::SeqCst) > 0, "nothing went through the proxy");
}

#[test]
fn plain_http_goes_through_the_tasks_proxy() {
    goes_through(Fetch::Http, "http");
}

#[test]
fn the_browser_goes_through_the_tasks_proxy() {
    goes_through(Fetch::Chromium, "browser");
}
