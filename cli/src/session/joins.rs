//! Joining takes as long as somebody thinks about it: the process that has the device waits, whoever asked looks at it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use zerok_sync_client::shared::failure::code;
use zerok_sync_client::{Client, ComparisonCode, JoinOptions};

use crate::failure::Failure;

/// Nobody waits any longer for what nobody has looked at for so long.
const PATIENCE: Duration = Duration::from_secs(15);

/// How far one has come.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Progress {
    /// What both devices show.
    pub code: Option<String>,
    /// The group's id, or why not.
    pub ended: Option<Result<String, Failure>>,
}

struct Joining {
    progress: watch::Receiver<Progress>,
    looked: Instant,
}

/// Those that are under way, or were looked at for the last time a moment ago.
#[derive(Default)]
pub struct Joins(Mutex<HashMap<u64, Joining>>);

impl Joins {
    /// Starts one.
    pub fn begin(self: &Arc<Self>, client: Client, invitation: String) -> u64 {
        let (tell, progress) = watch::channel(Progress::default());
        let mut joins = self.lock();
        let id = joins.keys().max().map_or(1, |id| id + 1);
        let looked = Instant::now();
        joins.insert(id, Joining { progress, looked });
        let all = Arc::clone(self);
        tokio::spawn(async move {
            let options = JoinOptions {
                on_comparison_code: |code: ComparisonCode| {
                    tell.send_modify(|progress| progress.code = Some(code.to_string()));
                },
                cancelled: all.forgotten(id),
            };
            let joined = client.join_with(&invitation, options).await;
            let ended = joined.map(|group| group.to_string()).map_err(Failure::from);
            tell.send_modify(|progress| progress.ended = Some(ended));
            all.forgotten(id).await;
            all.lock().remove(&id);
        });
        id
    }

    /// What there is of one, after something new has happened, or after `wait`. `told` says that the code is known.
    pub async fn look(&self, id: u64, told: bool, wait: Duration) -> Result<Progress, Failure> {
        let progress = self.lock().get_mut(&id).map(|joining| {
            joining.looked = Instant::now();
            joining.progress.clone()
        });
        let mut progress = progress.ok_or_else(|| {
            Failure::new(
                code::CLOSED,
                "the process that has this device open ended before it had joined; try again with a new invite",
            )
        })?;
        let new = progress.wait_for(|now| now.ended.is_some() || (!told && now.code.is_some()));
        let _ = tokio::time::timeout(wait, new).await;
        Ok(progress.borrow().clone())
    }

    async fn forgotten(&self, id: u64) {
        loop {
            let looked = self.lock().get(&id).map(|joining| joining.looked.elapsed());
            match looked.and_then(|looked| PATIENCE.checked_sub(looked)) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Joining>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
