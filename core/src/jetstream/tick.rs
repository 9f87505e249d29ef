//! Time: whoever is due is woken, nobody else.

use super::alarm::Owner;
use super::pull::{PullStatus, teller};
use super::{ConsumerKey, Effect, Input, JetStream};
use crate::cx::Cx;
use crate::halt::Halt;
use crate::time::Now;
use std::sync::Arc;

impl JetStream {
    pub(super) fn on_tick(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        for owner in self.alarms.due(now.mono) {
            match owner {
                Owner::Stream(name) => self.wake_stream(now, &name, cx)?,
                Owner::Consumer(key) => self.wake_consumer(now, &key, cx),
                Owner::Archive(id) => self.archives.set_due(&id),
            }
        }
        Ok(())
    }

    fn wake_stream(&mut self, now: Now, name: &Arc<str>, cx: &mut Cx<'_, Input, Effect>) -> Result<(), Halt> {
        if let Some(stream) = self.streams.get_mut(name) {
            stream.ids.trim(now.wall, stream.config.duplicate_window_ns);
        }
        self.expire_messages(now, name, cx);
        self.end_idle_batches(now, name, cx);
        self.fire_schedules(now, name, cx)?;
        self.arm_stream(now, name);
        Ok(())
    }

    fn wake_consumer(&mut self, now: Now, key: &ConsumerKey, cx: &mut Cx<'_, Input, Effect>) {
        let Some((stream, consumer, own)) = self.consumer_mut(&key.stream, &key.consumer) else { return };
        if own.inactive_at().is_some_and(|at| at <= now.mono) {
            return self.delete_consumer(now, &stream, &consumer, cx);
        }
        own.catch_up(now.mono, teller(cx));
        let is_due = own.flush_due.is_some_and(|at| at <= now.mono);
        self.tell_tidings(&stream, &consumer, cx);
        if is_due {
            self.flush_consumer(now, &stream, &consumer, cx);
        }
        self.signal(&stream, &consumer);
        self.arm_consumer(now, &stream, &consumer);
    }

    fn flush_consumer(&mut self, now: Now, stream: &str, consumer: &str, cx: &mut Cx<'_, Input, Effect>) {
        let Some((_, _, own)) = self.consumer_mut(stream, consumer) else { return };
        own.flush(now);
        if let Some(own) = self.streams.get(stream) {
            own.keep_consumer(consumer, cx);
        }
    }

    /// Writes every state that is not written yet and lets waiting pulls go.
    pub(super) fn on_stopping(&mut self, now: Now, cx: &mut Cx<'_, Input, Effect>) {
        let keys = self.streams.iter().flat_map(|(stream, own)| {
            own.consumers.keys().map(|consumer| (stream.clone(), consumer.clone()))
        });
        for (stream, consumer) in keys.collect::<Vec<_>>() {
            let Some((_, _, own)) = self.consumer_mut(&stream, &consumer) else { continue };
            own.pulls.end(|unserved| Some(PullStatus::ServerShutdown(unserved)), teller(cx));
            if own.changed {
                self.flush_consumer(now, &stream, &consumer, cx);
            }
            self.arm_consumer(now, &stream, &consumer);
        }
    }
}
