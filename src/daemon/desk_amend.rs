//! A running session's task is changed: its file first, then what the session goes by.

use std::sync::Arc;

use crate::config::Problem;
use crate::config::task::validate;
use crate::crawl::handle::{Amended, Order, Unheard};
use crate::crawl::terms::Terms;
use crate::daemon::answers::Done;
use crate::daemon::command::{Amendment, OperatorError};
use crate::daemon::desk::{Desk, blocking};
use crate::model::ids::SessionId;
use crate::model::task::StoredTask;
use crate::model::url::CanonicalUrl;
use crate::state::task_file;

/// Seeds of one amendment at most; more belong into a sitemap.
const SEEDS_MAX: usize = 10_000;

impl Desk {
    /// Changes the seeds, the pace or the exclusions of a session that runs. Its task file says so before the session
    /// hears of it, so that a crash in between changes nothing but when it holds.
    pub(super) fn amend(
        &self,
        id: SessionId,
        amendment: Amendment,
    ) -> impl Future<Output = Result<Done, OperatorError>> + Send + 'static {
        let paths = self.house.dir.session(&id);
        let handle = self.supervisor.handle(&id).cloned();
        let turn = self.amending.clone();
        async move {
            let Some(handle) = handle else {
                return Err(match paths.dir().exists() {
                    true => OperatorError::NotNow(format!("session {id} does not run: resume it first")),
                    false => OperatorError::UnknownSession(id.to_string()),
                });
            };
            let _turn = turn.lock().await;
            let (order, seeds) = blocking(move || {
                let read = task_file::read(&paths);
                let Some((task, _)) = read.good() else {
                    return Err(OperatorError::Io(format!("`{}` cannot be read", paths.task().display())));
                };
                let (task, order) = amended(task.clone(), &amendment).map_err(OperatorError::Invalid)?;
                let seeds = order.seeds.len() as u64;
                task_file::write(&paths, &task).map_err(|error| OperatorError::Io(error.to_string()))?;
                Ok((order, seeds))
            })
            .await?;
            handle.order(Order::Amend(Box::new(order))).await.map_err(|why| match why {
                Unheard::Ended => {
                    OperatorError::NotNow(format!("session {id} ended just now: the change holds if it goes on"))
                }
                Unheard::Refused(why) => OperatorError::NotNow(why),
            })?;
            Ok(Done { session_id: id, status: handle.snapshot().status, count: seeds })
        }
    }
}

/// The task with the change in it, and what its session is told; every problem otherwise.
fn amended(task: StoredTask, amendment: &Amendment) -> Result<(StoredTask, Amended), Vec<Problem>> {
    let mut task = task;
    let known = task.spec.seeds.clone();
    if amendment.seeds.len() > SEEDS_MAX {
        let message =
            format!("at most {SEEDS_MAX} at once (are {}): put the rest into a sitemap", amendment.seeds.len());
        return Err(vec![Problem::new("seeds", message)]);
    }
    let routes = task.spec.extract.hash_routes;
    task.spec.seeds.extend(amendment.seeds.iter().map(|seed| seed.trim().to_owned()));
    let politeness = &mut task.spec.politeness;
    politeness.delay = amendment.delay.unwrap_or(politeness.delay);
    politeness.max_delay = amendment.max_delay.unwrap_or(politeness.max_delay);
    politeness.per_host = amendment.per_host.unwrap_or(politeness.per_host);
    if amendment.delay.is_some() && amendment.max_delay.is_none() {
        // Who asks for a long pause and says nothing of the largest one means that pause.
        politeness.max_delay = politeness.max_delay.max(politeness.delay);
    }
    if let Some(exclude) = &amendment.exclude {
        task.spec.scope.exclude.clone_from(exclude);
    }
    let broken = validate(&task.spec);
    if !broken.is_empty() {
        return Err(broken);
    }
    task.spec = crate::config::task::normalise(task.spec);
    let fresh: Vec<CanonicalUrl> = task
        .spec
        .seeds
        .iter()
        .filter(|seed| !known.contains(seed))
        .filter_map(|seed| CanonicalUrl::parse_with(seed, routes).ok())
        .collect();
    let judge_anew = amendment.exclude.is_some() || !fresh.is_empty();
    task.rescoped |= judge_anew;
    let terms = Terms::new(&task.spec, task.rescoped).map_err(|why| vec![Problem::new("scope", why)])?;
    let seeds = terms.seeds(&fresh);
    Ok((task, Amended { terms: Arc::new(terms), seeds, judge_anew }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::duration::Span;
    use crate::state::task_file::sample;

    #[test]
    fn what_is_named_is_changed_and_all_else_stays() {
        let before = sample("s1");
        let pace = Amendment { delay: Some(Span::secs(60)), ..Amendment::default() };
        let (task, order) = amended(before.clone(), &pace).unwrap();
        assert_eq!((task.spec.politeness.delay, task.spec.politeness.max_delay), (Span::secs(60), Span::secs(60)));
        assert!(order.seeds.is_empty() && !order.judge_anew && !task.rescoped);
        assert_eq!(task.task_hash, before.task_hash, "it is the same task still");
        let more = Amendment {
            seeds: vec!["http://example.test".into(), " http://other.test/a#b ".into()],
            exclude: Some(vec!["/private/".into()]),
            ..Amendment::default()
        };
        let (task, order) = amended(before, &more).unwrap();
        let seeds: Vec<&str> = order.seeds.iter().map(|seed| seed.url.as_str()).collect();
        assert_eq!(seeds, ["http://other.test/a"], "a known one is not named twice");
        assert_eq!(task.spec.seeds, ["http://example.test/", "http://other.test/a"]);
        assert!(order.judge_anew && task.rescoped && order.terms.rescoped.is_some());
    }

    #[test]
    fn a_wrong_change_changes_nothing_and_names_its_place() {
        #[track_caller]
        fn check(amendment: Amendment, place: &str) {
            let problems = amended(sample("s1"), &amendment).err().unwrap_or_default();
            assert_eq!(problems.first().map(|problem| problem.place.as_str()), Some(place), "{problems:?}");
        }
        check(Amendment { seeds: vec!["file:///etc/passwd".into()], ..Amendment::default() }, "seeds");
        check(Amendment { exclude: Some(vec!["(".into()]), ..Amendment::default() }, "scope.exclude");
        check(Amendment { per_host: Some(0), ..Amendment::default() }, "politeness.per_host");
        let seeds = vec!["http://a.test/".to_owned(); SEEDS_MAX + 1];
        check(Amendment { seeds, ..Amendment::default() }, "seeds");
    }
}
