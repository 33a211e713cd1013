//! Recoveries that crawl nothing: each session is opened, which repairs it, rests, and is closed again.

use std::collections::BTreeSet;

use tracing::warn;

use crate::crawl::handle::Order;
use crate::daemon::answers::{RecoveryReport, RecoveryResult, SessionSummary};
use crate::daemon::command::Reply;
use crate::daemon::desk::Desk;
use crate::exit_code::ExitCode;
use crate::model::ids::SessionId;
use crate::model::session::SessionStatus;

/// The recoveries under way; each was asked for through the bounded queue of commands.
#[derive(Default)]
pub(super) struct Repairs(Vec<Repair>);

/// One recovery, until the last of its sessions has closed.
struct Repair {
    open: BTreeSet<SessionId>,
    report: RecoveryReport,
    /// Nobody waits for the answer where the process is there for this recovery alone.
    reply: Option<Reply<RecoveryReport>>,
}

impl Desk {
    /// Has the sessions that were opened at rest close again, and answers when they have.
    pub(super) fn repair(
        &mut self,
        report: RecoveryReport,
        opened: Vec<SessionId>,
        reply: Option<Reply<RecoveryReport>>,
    ) {
        for id in &opened {
            let Some(handle) = self.supervisor.handle(id).cloned() else { continue };
            let id = id.clone();
            self.errand(async move {
                // One that has ended by now needs no order.
                if let Err(why) = handle.order(Order::Abandon).await {
                    warn!(session_id = %id, reason = %why, "a repaired session was not told to close");
                }
            });
        }
        self.repairs.0.push(Repair { open: opened.into_iter().collect(), report, reply });
        self.repairs.answer();
    }
}

impl Repairs {
    /// Takes note of a session's end; tells whether it was open for a repair.
    pub(super) fn ended(&mut self, last: &SessionSummary) -> bool {
        let Some(repair) = self.0.iter_mut().find(|repair| repair.open.contains(&last.session_id)) else {
            return false;
        };
        repair.open.remove(&last.session_id);
        if last.status == SessionStatus::Crashed {
            let of_it = |id: Option<&SessionId>| id == Some(&last.session_id);
            let items = repair.report.sessions.iter_mut();
            for item in items.filter(|i| of_it(Some(&i.info.session_id)) || of_it(i.new_session_id.as_ref())) {
                item.result = RecoveryResult::Failed;
                item.exit = Some(ExitCode::Bug);
                item.message = Some("it met a bug of crawld when it was opened: please report it".to_owned());
            }
        }
        repair.report.repaired.push(last.clone());
        self.answer();
        true
    }

    fn answer(&mut self) {
        for done in self.0.extract_if(.., |repair| repair.open.is_empty()) {
            if let Some(reply) = done.reply {
                // A listener that has gone is no error: everything is repaired all the same.
                let _ = reply.send(Ok(done.report));
            }
        }
    }
}
