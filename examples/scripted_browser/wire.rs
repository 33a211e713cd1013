//! The debugging pipe: JSON messages that end in NUL.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::sync::{Mutex, PoisonError};

use serde_json::{Value, json};

/// The writing end, shared by every thread.
pub struct Wire {
    output: Mutex<File>,
}

/// The reading end.
pub struct Input(BufReader<File>);

impl Wire {
    /// Opens the descriptors that the launcher left at 3 and 4.
    pub fn open() -> io::Result<(Wire, Input)> {
        let input = File::open("/proc/self/fd/3")?;
        let output = File::options().write(true).open("/proc/self/fd/4")?;
        Ok((Wire { output: Mutex::new(output) }, Input(BufReader::new(input))))
    }

    /// Answers a command.
    pub fn answer(&self, command: &Value, result: Value) {
        self.send(with_session(json!({ "id": command["id"], "result": result }), command["sessionId"].as_str()));
    }

    /// Refuses a command.
    pub fn refuse(&self, command: &Value, message: &str) {
        let error = json!({ "code": -32000, "message": message });
        self.send(with_session(json!({ "id": command["id"], "error": error }), command["sessionId"].as_str()));
    }

    /// Sends an event; `method` comes first, as Chromium writes it.
    pub fn event(&self, session: Option<&str>, method: &str, params: Value) {
        let session = session.map_or(String::new(), |id| format!(",\"sessionId\":\"{id}\""));
        self.write(&format!("{{\"method\":\"{method}\",\"params\":{params}{session}}}"));
    }

    fn send(&self, message: Value) {
        self.write(&message.to_string());
    }

    fn write(&self, text: &str) {
        let mut bytes = Vec::with_capacity(text.len() + 1);
        bytes.extend_from_slice(text.as_bytes());
        bytes.push(0);
        let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
        if output.write_all(&bytes).is_err() {
            // Nobody listens any more.
            std::process::exit(0);
        }
    }
}

impl Input {
    /// The next command; `None` at the end of the pipe.
    pub fn next(&mut self) -> io::Result<Option<Value>> {
        let mut bytes = Vec::new();
        self.0.read_until(0, &mut bytes)?;
        if bytes.pop() != Some(0) {
            return Ok(None);
        }
        serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other)
    }
}

fn with_session(mut message: Value, session: Option<&str>) -> Value {
    if let Some(id) = session {
        message["sessionId"] = id.into();
    }
    message
}
