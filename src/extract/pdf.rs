//! Text of a PDF, made in a process of its own: what its parser does with rubbish is nobody else's affair.
//!
//! The process is this program again, with one word as its argument. It bounds itself, reads the document from its
//! standard input and writes the text to its standard output.

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

/// The argument that makes this program such a process.
pub const ARGUMENT: &str = "--text-of-pdf";
/// Before the text: libraries may say something first.
const MARK: &[u8] = b"\x1fcrawld text of pdf\x1f";
/// Before the reason why there is none.
const WHY: &[u8] = b"\x1fcrawld no text of pdf\x1f";
/// A longer reason says no more.
const WHY_MAX: usize = 300;
/// A document that takes longer has no text.
const WITHIN: Duration = Duration::from_secs(30);
/// Bytes of memory, and seconds of CPU, that a document may take.
const MEMORY: u64 = 1 << 30;
const CPU_SECONDS: u64 = 20;

static HELPER: OnceLock<PathBuf> = OnceLock::new();

/// Says which program makes texts; until then there are none.
pub fn made_by(program: PathBuf) {
    // The first one stays.
    let _ = HELPER.set(program);
}

/// Whether a body is a PDF: its mark stands near its beginning.
pub fn is_pdf(body: &[u8]) -> bool {
    memchr::memmem::find(&body[..body.len().min(1024)], b"%PDF-").is_some()
}

/// The text of a PDF, whitespace folded, and whether it was cut at `most` bytes.
///
/// # Errors
/// There is none to be had; says why.
pub async fn text(pdf: &[u8], most: usize) -> Result<(String, bool), String> {
    let program = HELPER.get().ok_or("there is no program to read it with")?;
    let mut command = Command::new(program);
    command.arg(ARGUMENT).env_clear().kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().map_err(|error| format!("no process to read it in: {error}"))?;
    let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
        return Err("no pipes to a process to read it in".to_owned());
    };
    let working = async {
        let mut said = Vec::new();
        // Folded it is shorter; what lies beyond is cut in any case.
        let mut limited = stdout.take(2 * most as u64 + (64 << 10));
        let give = async {
            // A process that gives up early does not read it all, and says so by its end.
            let _ = stdin.write_all(pdf).await;
            drop(stdin);
        };
        let (_, read) = tokio::join!(give, limited.read_to_end(&mut said));
        read.map_err(|error| format!("its text was not read: {error}"))?;
        drop(limited);
        let ended = child.wait().await.map_err(|error| format!("its process was lost: {error}"))?;
        Ok::<_, String>((said, ended))
    };
    let done = tokio::time::timeout(WITHIN, working).await;
    let (said, ended) = done.map_err(|_| "it took too long to read".to_owned())??;
    let start = memchr::memmem::find(&said, MARK).map(|at| at + MARK.len());
    let Some(start) = start else {
        let why = memchr::memmem::find(&said, WHY).map(|at| &said[at + WHY.len()..]);
        return Err(match why {
            Some(why) => format!("it could not be read: {}", String::from_utf8_lossy(&why[..why.len().min(WHY_MAX)])),
            None => {
                format!("it could not be read: its reader was ended ({ended}), as by its bounds of memory and time")
            }
        });
    };
    let mut folded = super::text::Folded::new(most);
    folded.push(&String::from_utf8_lossy(&said[start..]));
    let cut = folded.is_cut();
    Ok((folded.into_string(), cut))
}

/// What the process does: returns whether it has said a text, or why there is none.
pub fn serve() -> bool {
    let bound = |resource, most| {
        // Where it cannot be bounded by the system, its parent's patience still bounds it.
        let _ = setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    };
    bound(Resource::As, MEMORY);
    bound(Resource::Cpu, CPU_SECONDS);
    bound(Resource::Core, 0);
    std::panic::set_hook(Box::new(|_| {}));
    let mut pdf = Vec::new();
    if io::stdin().read_to_end(&mut pdf).is_err() {
        return false;
    }
    let (mark, text) = match std::panic::catch_unwind(|| pdf_extract::extract_text_from_mem(&pdf)) {
        Ok(Ok(text)) => (MARK, text),
        Ok(Err(error)) => (WHY, error.to_string()),
        Err(_) => (WHY, "its parser does not get along with it (a panic)".to_owned()),
    };
    let mut out = io::stdout().lock();
    out.write_all(mark).and_then(|()| out.write_all(text.as_bytes())).and_then(|()| out.flush()).is_ok()
}
