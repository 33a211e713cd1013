//! Text of PDF documents, and of what only calls itself so.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A document of one page with one line.
fn document(line: &str) -> Vec<u8> {
    let stream = format!("BT /F1 24 Tf 72 720 Td ({line}) Tj ET");
    let objects = [
        "<< /Type /Catalog /Pages 2 0 R >>".to_owned(),
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_owned(),
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>"
            .to_owned(),
        format!("<< /Length {} >>\nstream\n{stream}\nendstream", stream.len()),
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned(),
    ];
    let mut pdf = b"%PDF-1.4\n".to_vec();
    let mut places = Vec::new();
    for (n, object) in objects.iter().enumerate() {
        places.push(pdf.len());
        pdf.extend_from_slice(format!("{} 0 obj\n{object}\nendobj\n", n + 1).as_bytes());
    }
    let start = pdf.len();
    pdf.extend_from_slice(b"xref\n0 6\n0000000000 65535 f \n");
    places.iter().for_each(|at| pdf.extend_from_slice(format!("{at:010} 00000 n \n").as_bytes()));
    pdf.extend_from_slice(format!("trailer\n<< /Size 6 /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").as_bytes());
    pdf
}

/// What the process that reads documents says of one; none: it has no text.
fn text_of(pdf: &[u8]) -> Option<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_crawld"));
    command.arg("--text-of-pdf").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("crawld");
    // It need not read what it does not want.
    let _ = child.stdin.take().expect("a pipe").write_all(pdf);
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let (said, has_text) = match said.split_once("\u{1f}crawld text of pdf\u{1f}") {
        Some((_, text)) => (text.to_owned(), output.status.success()),
        None => (said, false),
    };
    // What has no text says why, as no crash of ours.
    assert!(has_text || output.status.code() != Some(0) || said.contains("crawld no text of pdf\u{1f}"), "{said}");
    has_text.then(|| said.trim().to_owned())
}

#[test]
fn a_document_has_its_text_and_rubbish_has_an_end() {
    let good = document("Every light on the coast");
    assert_eq!(text_of(&good).as_deref(), Some("Every light on the coast"));
    let began = Instant::now();
    assert_eq!(text_of(b""), None);
    assert_eq!(text_of(b"%PDF-1.7 and nothing more"), None);
    let cut = &good[..good.windows(4).position(|part| part == b"xref").expect("its table")];
    assert_eq!(text_of(cut), None, "without its table nothing is found in it");
    let deep = [b"%PDF-1.4\n1 0 obj\n".to_vec(), b"[".repeat(2_000_000), b"\nendobj\n%%EOF".to_vec()].concat();
    text_of(&deep);
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..12 {
        // Whatever comes of it: it ends, and nothing but it.
        let mut broken = good.clone();
        for _ in 0..20 {
            let at = random.usize(..broken.len());
            broken[at] = random.u8(..);
        }
        broken.truncate(random.usize(good.len() / 2..=good.len()));
        text_of(&broken);
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
