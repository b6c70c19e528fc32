//! A model that is being fetched from a hub or another address, beside everything else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_channel::{Receiver, Sender};

use crate::engine::fetch::{Address, FetchError, FetchOptions, FetchProgress, Fetched, fetch};
use crate::platform;

/// What comes of a fetch.
#[derive(Debug)]
pub enum News {
    /// It goes on.
    Progress(FetchProgress),
    /// It is over: the model's name, and its files or why they are not to be had.
    Done(String, Box<Result<Fetched, FetchError>>),
}

/// Fetches one model at a time.
pub struct Fetching {
    sender: Sender<News>,
    receiver: Receiver<News>,
    stop: Arc<AtomicBool>,
}

impl Default for Fetching {
    fn default() -> Self {
        let (sender, receiver) = async_channel::unbounded();
        Self { sender, receiver, stop: Arc::default() }
    }
}

impl Fetching {
    /// Begins to fetch what the text names.
    pub fn start(&mut self, text: &str, ctx: &eframe::egui::Context) {
        self.stop = Arc::default();
        let name = text.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
        let address = match Address::parse(text.trim()) {
            Ok(address) => address,
            Err(e) => {
                let _ = self.sender.try_send(News::Done(name, Box::new(Err(e))));
                return;
            }
        };
        let (sender, stop, ctx) = (self.sender.clone(), Arc::clone(&self.stop), ctx.clone());
        platform::spawn("fetch", move || async move {
            let tell = |progress: &FetchProgress| {
                let _ = sender.try_send(News::Progress(progress.clone()));
                ctx.request_repaint();
                !stop.load(Ordering::Relaxed)
            };
            let result = match FetchOptions::from_environment() {
                Ok(options) => fetch(&address, &options, tell).await,
                Err(e) => Err(e),
            };
            let _ = sender.try_send(News::Done(name, Box::new(result)));
            ctx.request_repaint();
        });
    }

    /// Ends it; what has come is kept.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// What came since the last call.
    #[must_use]
    pub fn next(&self) -> Option<News> {
        self.receiver.try_recv().ok()
    }
}
