//! Whether the kernel's out-of-memory killer explains a death, by its counters then and now.

/// The kernel's counts of out-of-memory kills at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OomKills {
    /// In the cgroup of the process that died.
    pub group: Option<GroupKills>,
    /// On the whole machine, since boot.
    pub machine: Option<u64>,
}

/// Kills in one cgroup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupKills {
    /// Which: a cgroup that was made anew under the same name counts from 0 and is another one.
    pub id: u64,
    /// How many since it was made.
    pub kills: u64,
}

/// Whether there were kills between `then` and `now` that may have been those of the process. Its own cgroup knows
/// best; what died elsewhere on the machine explains nothing. The machine's count has to do where the cgroup cannot
/// be asked any more: a service manager removes it with the service, a container's goes with the container.
pub fn grew(then: &OomKills, now: &OomKills) -> bool {
    match (then.group, now.group) {
        (Some(then), Some(now)) if then.id == now.id => now.kills > then.kills,
        _ => matches!((then.machine, now.machine), (Some(then), Some(now)) if now > then),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup_s_own_count_comes_first() {
        #[track_caller]
        fn check(
            name: &str,
            then: (Option<(u64, u64)>, Option<u64>),
            now: (Option<(u64, u64)>, Option<u64>),
            expected: bool,
        ) {
            let counts = |(group, machine): (Option<(u64, u64)>, Option<u64>)| OomKills {
                group: group.map(|(id, kills)| GroupKills { id, kills }),
                machine,
            };
            assert_eq!(grew(&counts(then), &counts(now)), expected, "{name}");
        }
        let own = |kills| Some((7, kills));
        check("in its own group", (own(2), Some(5)), (own(3), Some(6)), true);
        check("somewhere else on the machine", (own(2), Some(5)), (own(2), Some(6)), false);
        check("nowhere", (own(2), Some(5)), (own(2), Some(5)), false);
        check("its group was made anew", (own(2), Some(5)), (Some((8, 0)), Some(6)), true);
        check("its group was made anew, nothing was killed", (own(2), Some(5)), (Some((8, 0)), Some(5)), false);
        check("its group is gone", (own(2), Some(5)), (None, Some(6)), true);
        check("it knew of no group", (None, Some(5)), (own(9), Some(6)), true);
        check("the machine does not say", (None, None), (None, Some(6)), false);
        check("the machine does not say any more", (None, Some(5)), (None, None), false);
        check("only the group says", (own(2), None), (own(3), None), true);
    }
}
