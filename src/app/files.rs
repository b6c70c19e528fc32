//! Files that people pick, drop, paste and save.

use async_channel::{Receiver, Sender};

use crate::platform;

/// What a picked file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A picture to ask about.
    Picture,
    /// A run file or checkpoint.
    Run,
    /// Not picked but saved, which failed.
    Saved,
}

/// A file that came in.
#[derive(Clone, Debug)]
pub struct Picked {
    /// What for.
    pub purpose: Purpose,
    /// Its name.
    pub name: String,
    /// Its contents, or why it cannot be read.
    pub bytes: Result<Vec<u8>, String>,
}

/// Where picked files arrive, a frame or many later.
pub struct Files {
    sender: Sender<Picked>,
    receiver: Receiver<Picked>,
}

impl Default for Files {
    fn default() -> Self {
        let (sender, receiver) = async_channel::unbounded();
        Self { sender, receiver }
    }
}

impl Files {
    /// Opens a dialog.
    pub fn pick(&self, purpose: Purpose, ctx: &eframe::egui::Context) {
        let (kind, extensions): (_, &[&str]) = match purpose {
            Purpose::Picture => ("pictures", &["png", "jpg", "jpeg", "webp"]),
            Purpose::Run | Purpose::Saved => ("runs", &["hiverun", "safetensors"]),
        };
        // The dialog is made on the window's own thread, as macOS wants it.
        let dialog = rfd::AsyncFileDialog::new().add_filter(kind, extensions).pick_file();
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        platform::spawn("dialog", move || async move {
            if let Some(file) = dialog.await {
                let bytes = Ok(file.read().await);
                let _ = sender.try_send(Picked { purpose, name: file.file_name(), bytes });
                ctx.request_repaint();
            }
        });
    }

    /// Takes a file that was dropped; what it is for shows in its name.
    pub fn put_dropped(&self, file: eframe::egui::DroppedFileHandle, ctx: &eframe::egui::Context) {
        let name = file.path().file_name().map_or_else(|| "file".into(), |n| n.to_string_lossy().into_owned());
        let lower = name.to_lowercase();
        let run = [".hiverun", ".safetensors"].iter().any(|end| lower.ends_with(end));
        let purpose = if run { Purpose::Run } else { Purpose::Picture };
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        platform::spawn("drop", move || async move {
            let bytes = platform::dropped_bytes(file).await;
            let _ = sender.try_send(Picked { purpose, name, bytes });
            ctx.request_repaint();
        });
    }

    /// The next file that came in.
    #[must_use]
    pub fn next(&self) -> Option<Picked> {
        self.receiver.try_recv().ok()
    }

    /// Asks where to save, then saves; in a browser: downloads. A failure comes in as [`Purpose::Saved`].
    pub fn save(&self, name: &str, bytes: &std::sync::Arc<Vec<u8>>, ctx: &eframe::egui::Context) {
        let saved = platform::save_as(name, bytes);
        let (name, sender, ctx) = (name.to_owned(), self.sender.clone(), ctx.clone());
        platform::spawn("dialog", move || async move {
            if let Err(reason) = saved.await {
                let _ = sender.try_send(Picked { purpose: Purpose::Saved, name, bytes: Err(reason) });
                ctx.request_repaint();
            }
        });
    }
}
