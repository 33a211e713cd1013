//! Who is on the other end of a loopback connection.
//!
//! A port on 127.0.0.1 is open to every user of the machine; our proxy is for our own browser. The kernel
//! knows whose socket it is (`sock_diag(7)`): one question per connection, answered without a scan.

use std::io;
use std::net::SocketAddrV4;

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, send, socket_with};

/// `SOCK_DIAG_BY_FAMILY`, `NLM_F_REQUEST`, `NLMSG_ERROR` of linux/netlink.h and linux/sock_diag.h.
const BY_FAMILY: u16 = 20;
const REQUEST: u16 = 1;
const ERROR: u16 = 2;
/// `sizeof(nlmsghdr)` and `sizeof(inet_diag_req_v2)`.
const HEAD: usize = 16;
const QUESTION: usize = 56;
/// Of `idiag_uid` in an answer: behind the head, four bytes, the socket's id (48) and three counters.
const UID_AT: usize = HEAD + 4 + 48 + 12;

/// The user whose socket has this local address and is connected to `remote`; `None` when there is none.
///
/// # Errors
/// The kernel does not answer such questions here.
pub(super) fn owner(local: SocketAddrV4, remote: SocketAddrV4) -> io::Result<Option<u32>> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, Some(netlink::SOCK_DIAG))?;
    send(&socket, &question(local, remote), SendFlags::empty())?;
    let mut answer = [0u8; 1024];
    // The kernel has answered by the time `send` returns.
    let (length, _) = recv(&socket, &mut answer, RecvFlags::DONTWAIT)?;
    read(&answer[..length])
}

fn question(local: SocketAddrV4, remote: SocketAddrV4) -> [u8; HEAD + QUESTION] {
    let mut bytes = [0u8; HEAD + QUESTION];
    bytes[0..4].copy_from_slice(&((HEAD + QUESTION) as u32).to_ne_bytes());
    bytes[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
    bytes[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    // `inet_diag_req_v2`: AF_INET, IPPROTO_TCP, no extensions, any state, then the socket's id.
    bytes[HEAD] = 2;
    bytes[HEAD + 1] = 6;
    bytes[HEAD + 4..HEAD + 8].fill(0xff);
    let id = &mut bytes[HEAD + 8..];
    id[0..2].copy_from_slice(&local.port().to_be_bytes());
    id[2..4].copy_from_slice(&remote.port().to_be_bytes());
    id[4..8].copy_from_slice(&local.ip().octets());
    id[20..24].copy_from_slice(&remote.ip().octets());
    // No interface; no cookie.
    id[40..48].fill(0xff);
    bytes
}

fn read(answer: &[u8]) -> io::Result<Option<u32>> {
    let word = |at: usize| answer.get(at..at + 4).and_then(|four| four.try_into().ok()).map(u32::from_ne_bytes);
    let kind = answer.get(4..6).and_then(|two| two.try_into().ok()).map(u16::from_ne_bytes);
    match kind {
        Some(BY_FAMILY) => Ok(word(UID_AT)),
        Some(ERROR) => {
            let errno = word(HEAD).map_or(0, |code| (code as i32).wrapping_neg());
            let error = io::Error::from_raw_os_error(errno);
            if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) }
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidData)),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

    use super::*;

    fn v4(address: SocketAddr) -> SocketAddrV4 {
        let SocketAddr::V4(address) = address else { panic!("{address}") };
        address
    }

    #[test]
    fn the_kernel_says_whose_socket_it_is() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let ours = v4(listener.local_addr().unwrap());
        let client = TcpStream::connect(ours).unwrap();
        let peer = v4(client.local_addr().unwrap());
        assert_eq!(owner(peer, ours).unwrap(), Some(rustix::process::geteuid().as_raw()));
        let nobody = SocketAddrV4::new(Ipv4Addr::new(127, 1, 2, 3), 1);
        assert_eq!(owner(nobody, nobody).unwrap(), None);
    }
}
