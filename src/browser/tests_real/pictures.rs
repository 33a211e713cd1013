//! What a page leaves behind that only a browser can make.

use super::*;
use crate::model::kept::{KeptKind, Screenshot};

/// Width and height, from the head of a PNG file.
fn size(png: &[u8]) -> (u32, u32) {
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
    let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
    (number(16), number(20))
}

async fn answer(stage: &Stage, path: &str, extract: ExtractSpec) -> PageAnswer {
    let mut request = stage.request(path, Duration::from_secs(20));
    request.extract = Arc::new(extract);
    match tokio::time::timeout(BOUND, stage.pool.visit(request)).await.expect("in time").result {
        VisitResult::Answer(answer) => *answer,
        other => panic!("{path}: {other:?}"),
    }
}

fn file(answer: &PageAnswer, kind: KeptKind) -> &[u8] {
    let found = answer.raw.files.iter().find(|(is, _)| *is == kind);
    &found.unwrap_or_else(|| panic!("no {kind}: {:?}", answer.raw.left_out)).1
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_show_the_window_or_the_whole_page_and_print_it() {
    let stage = Stage::open().await;
    let screenshot = |of| ExtractSpec { screenshot: Some(of), ..ExtractSpec::default() };
    let shown = answer(&stage, "/tall", screenshot(Screenshot::Viewport)).await;
    let (width, height) = size(file(&shown, KeptKind::Screenshot));
    assert!(width == 1280 && (600..=1024).contains(&height), "{width} × {height}");
    let all = ExtractSpec { pdf: true, html: true, ..screenshot(Screenshot::Full) };
    let whole = answer(&stage, "/tall", all).await;
    let (_, tall) = size(file(&whole, KeptKind::Screenshot));
    assert!(tall >= 3_000, "{tall}");
    assert!(file(&whole, KeptKind::Pdf).starts_with(b"%PDF"));
    assert!(whole.raw.source.as_ref().unwrap().html.contains("made by a script"));
    assert_eq!(whole.raw.left_out, []);
    if let Some(place) = std::env::var_os("CRAWLD_SHOW") {
        std::fs::write(place, file(&whole, KeptKind::Screenshot)).unwrap();
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_does_not_come_is_left_out_and_the_page_is_kept() {
    let stage = Stage::open().await;
    let wanted = ExtractSpec { screenshot: Some(Screenshot::Viewport), pdf: true, ..ExtractSpec::default() };
    let empty = answer(&stage, "/204", wanted.clone()).await;
    assert_eq!(empty.raw.left_out.len(), 2);
    let small = ExtractSpec { capture_max_bytes: 1_000, ..wanted.clone() };
    let printed = answer(&stage, "/tall", small).await;
    assert!(printed.raw.left_out[0].reason.contains("larger"), "{:?}", printed.raw.left_out);
    let busy = answer(&stage, "/alerts", wanted).await;
    assert!(file(&busy, KeptKind::Screenshot).len() > 100);
    stage.close().await;
}
