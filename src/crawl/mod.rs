//! One session: controller, committer, workers.
