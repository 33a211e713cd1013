//! Pictures of a page that was read: screenshots and print-outs. Each within its time, watched like a visit.

use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use chromiumoxide::Page;
use chromiumoxide::cdp::browser_protocol::fetch::{ContinueRequestParams, FailRequestParams};
use chromiumoxide::cdp::browser_protocol::io;
use chromiumoxide::cdp::browser_protocol::network::ErrorReason;
use chromiumoxide::cdp::browser_protocol::page::{
    CaptureScreenshotFormat, CaptureScreenshotParams, GetLayoutMetricsParams, HandleJavaScriptDialogParams,
    PrintToPdfParams, PrintToPdfTransferMode, Viewport,
};
use chromiumoxide::error::CdpError;
use chromiumoxide::types::Command;
use futures_util::StreamExt;
use tokio::time::{Instant, interval_at, sleep_until, timeout};

use super::tab::{Event, Tab};
use super::visit::Ended;
use crate::clock::Clock;
use crate::model::kept::{KeptKind, LeftOut, Screenshot};
use crate::model::long::{KEEPALIVE, Operation, Voice};
use crate::model::task::PICTURES_WITHIN;
use crate::model::visit::{VisitRequest, VisitResult};

/// A picture of what the window shows, and any picture of a page that did not end cleanly.
const SHORT: Duration = Duration::from_secs(30);
/// Pixels of a picture at most: as a message, the worst of them stays below what the bridge carries.
const PIXELS_MAX: f64 = 21e6;
/// Width of a picture at most.
const WIDTH_MAX: f64 = 4_096.0;
/// Bytes of a print-out read at once.
const PIECE: i64 = 1 << 20;
/// Replies to small commands.
const SMALL: Duration = Duration::from_secs(5);

/// A picture, and what is missing of it.
type Picture = (Vec<u8>, Option<String>);

/// Takes the pictures that the task asks for, if the visit brought a page. What could not be taken is noted
/// in the answer, and then the tab is not used again.
pub(super) async fn take(tab: &mut Tab, req: &VisitRequest, ended: &mut Ended) {
    let spec = &req.extract;
    let VisitResult::Answer(answer) = &mut ended.result else { return };
    let wanted: Vec<KeptKind> =
        spec.kept_kinds().filter(|kind| matches!(kind, KeptKind::Screenshot | KeptKind::Pdf)).collect();
    let end = Instant::now() + if ended.clean { PICTURES_WITHIN } else { SHORT };
    for kind in wanted {
        if ended.left.seen.is_none() {
            answer.raw.left_out.push(LeftOut::new(kind, "the answer showed no page"));
            continue;
        }
        let page = tab.page.clone();
        let short = kind == KeptKind::Screenshot && spec.screenshot == Some(Screenshot::Viewport);
        let by = if short { end.min(Instant::now() + SHORT) } else { end };
        let most = spec.capture_max_bytes;
        let taken = match kind {
            KeptKind::Pdf => attended(tab, req, kind, by, print(page, most)).await,
            _ => attended(tab, req, kind, by, shoot(page, !short)).await,
        };
        match taken {
            Ok((body, missing)) => {
                answer.raw.files.push((kind, body));
                answer.raw.left_out.extend(missing.map(|reason| LeftOut::new(kind, reason)));
            }
            Err(reason) => {
                ended.clean = false;
                answer.raw.left_out.push(LeftOut::new(kind, reason.escape_debug().to_string()));
            }
        }
    }
}

/// Waits for a picture, and for whatever the page does in the meantime.
async fn attended(
    tab: &mut Tab,
    req: &VisitRequest,
    kind: KeptKind,
    by: Instant,
    picture: impl Future<Output = Result<Picture, String>>,
) -> Result<Picture, String> {
    let began = Instant::now();
    let operation = if kind == KeptKind::Pdf { Operation::Pdf } else { Operation::Screenshot };
    let mut voice = Voice::new(&req.long, operation, &req.url, Clock::system().now());
    let mut keepalive = interval_at(began + KEEPALIVE, KEEPALIVE);
    tokio::pin!(picture);
    loop {
        tokio::select! {
            biased;
            signal = tab.listening.signals.recv() => return Err(format!("the page went away: {signal:?}")),
            taken = &mut picture => return taken,
            () = sleep_until(by) => return Err("it was not taken in time".to_owned()),
            Some(event) = tab.events.next() => answer(tab.page.clone(), tab.target.clone(), event).await,
            _ = keepalive.tick() => {
                let elapsed_ms = voice.alive(Clock::system().now()).as_millis() as u64;
                tracing::info!(url = %req.url, step = kind.as_str(), elapsed_ms, "visit still working");
            }
        }
    }
}

/// The page stays where it is; its frames may go on loading, its dialogs are closed.
async fn answer(page: Page, target: String, event: Event) {
    match event {
        Event::Paused(paused) => {
            let own = paused.frame_id.as_ref() == target;
            let web = paused.request.url.starts_with("http://") || paused.request.url.starts_with("https://");
            let id = paused.request_id.clone();
            if web && !own {
                small(page, ContinueRequestParams::new(id)).await;
            } else {
                small(page, FailRequestParams::new(id, ErrorReason::Aborted)).await;
            }
        }
        Event::Dialog(_) => small(page, HandleJavaScriptDialogParams::new(false)).await,
        // The page has been read: what else it does is not looked at any more.
        _ => {}
    }
}

/// A command whose failure shows in what follows.
async fn small<C: Command>(page: Page, command: C) {
    let _ = timeout(SMALL, page.execute(command)).await;
}

/// A screenshot as PNG.
async fn shoot(page: Page, full: bool) -> Result<Picture, String> {
    let mut params = CaptureScreenshotParams::builder().format(CaptureScreenshotFormat::Png).build();
    let mut missing = None;
    if full {
        let size = page.execute(GetLayoutMetricsParams::default()).await.map_err(say)?.result.css_content_size;
        let width = size.width.clamp(1.0, WIDTH_MAX);
        let height = size.height.clamp(1.0, (PIXELS_MAX / width).floor());
        if width < size.width || height < size.height {
            missing = Some(format!("cut at {width} × {height} of {} × {} pixels", size.width, size.height));
        }
        params.clip = Some(Viewport { x: 0.0, y: 0.0, width, height, scale: 1.0 });
        params.capture_beyond_viewport = Some(true);
    }
    let data = page.execute(params).await.map_err(say)?.result.data;
    let body = BASE64.decode::<&[u8]>(data.as_ref()).map_err(|error| error.to_string())?;
    Ok((body, missing))
}

/// A print-out, read in pieces: it may be larger than a message can be.
async fn print(page: Page, most: u64) -> Result<Picture, String> {
    let params = PrintToPdfParams::builder()
        .print_background(true)
        .transfer_mode(PrintToPdfTransferMode::ReturnAsStream)
        .build();
    let printed = page.execute(params).await.map_err(say)?.result;
    let stream = printed.stream.ok_or("the browser gave no stream")?;
    let mut body = Vec::new();
    let end = loop {
        let read = io::ReadParams::builder().handle(stream.clone()).size(PIECE).build()?;
        let piece = page.execute(read).await.map_err(say)?.result;
        if piece.base64_encoded == Some(true) {
            BASE64.decode_vec(piece.data.as_bytes(), &mut body).map_err(|error| error.to_string())?;
        } else {
            body.extend_from_slice(piece.data.as_bytes());
        }
        if body.len() as u64 > most {
            break Err(format!("it is larger than {most} bytes"));
        }
        if piece.eof {
            break Ok((body, None));
        }
    };
    page.execute(io::CloseParams::new(stream)).await.map_err(say)?;
    end
}

fn say(error: CdpError) -> String {
    error.to_string().chars().take(200).collect()
}
