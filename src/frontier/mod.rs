//! Which host may be asked next: slots ordered by due time.
