//! A port that nobody may talk to: TCP and UDP, IPv4 and IPv6. Remembers who did.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::poll;

/// The listener. Its threads end with the process: they block, and hold nothing but their socket.
pub struct Canary {
    pub port: u16,
    hits: Arc<Mutex<BTreeSet<String>>>,
}

impl Canary {
    pub fn start() -> Canary {
        let (tcp, udp) = sockets();
        let port = tcp.local_addr().expect("bound").port();
        let hits: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let (by_tcp, by_udp) = (hits.clone(), hits.clone());
        std::thread::spawn(move || {
            for stream in tcp.incoming().filter_map(Result::ok) {
                let hits = by_tcp.clone();
                std::thread::spawn(move || hits.lock().expect("no panic").insert(first_line(stream)));
            }
        });
        std::thread::spawn(move || {
            let mut bytes = [0u8; 2048];
            while udp.recv_from(&mut bytes).is_ok() {
                by_udp.lock().expect("no panic").insert("a datagram".to_owned());
            }
        });
        Canary { port, hits }
    }

    /// First lines of what came, each once.
    pub fn hits(&self) -> BTreeSet<String> {
        self.hits.lock().expect("no panic").clone()
    }

    /// It would have noticed.
    #[track_caller]
    pub fn expect_alive(&self) {
        drop(TcpStream::connect(("127.0.0.1", self.port)).expect("the canary listens"));
        poll::expect("the canary", Duration::from_secs(10), || (!self.hits().is_empty()).then_some(()));
    }
}

/// Both on one port; on every address of the machine, IPv4 included.
fn sockets() -> (TcpListener, UdpSocket) {
    let any = Ipv6Addr::UNSPECIFIED;
    for _ in 0..50 {
        let tcp = TcpListener::bind((any, 0)).or_else(|_| TcpListener::bind(("0.0.0.0", 0))).expect("a free port");
        let at: SocketAddr = tcp.local_addr().expect("bound");
        if let Ok(udp) = UdpSocket::bind(at) {
            return (tcp, udp);
        }
    }
    panic!("no port is free for TCP and UDP");
}

/// `GET /hit/img`; `TLS` for a handshake; `nothing` for a connection without a word.
fn first_line(mut stream: TcpStream) -> String {
    let mut bytes = [0u8; 256];
    let timeout = stream.set_read_timeout(Some(Duration::from_secs(2)));
    let length = timeout.and_then(|()| stream.read(&mut bytes)).unwrap_or(0);
    match bytes[..length].first() {
        None => "nothing".to_owned(),
        Some(0x16) => "TLS".to_owned(),
        Some(_) => {
            let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
            text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
        }
    }
}
