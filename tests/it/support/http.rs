//! The API of a daemon over TCP, as a stranger with a token asks it: no code of crawld's own takes part.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::poll;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon's address and its tokens.
pub struct Api {
    state: PathBuf,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// The token for everything.
    pub token: String,
    /// The token for reading.
    pub read_only: String,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, in small letters.
    pub head: String,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// Fails the test unless the status is this.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(&self.body));
        self
    }
}

impl Api {
    /// Waits until a daemon on this state directory says where it is reached.
    #[track_caller]
    pub fn of(state: &Path) -> Api {
        let read = |name: &str| std::fs::read_to_string(state.join(name)).ok().map(|text| text.trim().to_owned());
        // The file of a killed daemon is there until the next one begins.
        let address = poll::expect("the API's address", Duration::from_secs(20), || {
            let address = read("api-address")?;
            TcpStream::connect(address.trim_start_matches("http://")).ok().map(|_| address)
        });
        let token = |name| read(name).expect("a token");
        Api {
            state: state.to_owned(),
            address: address.trim_start_matches("http://").to_owned(),
            token: token("api-token"),
            read_only: token("api-token-readonly"),
        }
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Asks with the token for everything.
    pub fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        self.ask_with(method, path, &[("Authorization", &format!("Bearer {}", self.token))], body)
    }

    /// `GET`, which must be answered well.
    #[track_caller]
    pub fn get(&self, path: &str) -> Value {
        self.ask("GET", path, None).expect(200).json()
    }

    /// `POST`, which must be answered well.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, Some(body)).expect(200).json()
    }

    /// Asks with these headers.
    pub fn ask_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str("Content-Type: application/json\r\n");
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        let mut stream = TcpStream::connect(&self.address).expect("the API takes connections");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.write_all(request.as_bytes()).expect("the request is taken");
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).expect("an answer in time");
        let end = memchr::memmem::find(&bytes, b"\r\n\r\n")
            .unwrap_or_else(|| panic!("{method} {path}: no head: {}", String::from_utf8_lossy(&bytes)));
        let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
        let status = head.get(9..12).and_then(|code| code.parse().ok()).expect("a status");
        Answer { status, head, body: bytes.split_off(end + 4) }
    }
}
