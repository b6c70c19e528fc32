//! Files that people pick, drop, paste and save.

use async_channel::{Receiver, Sender};

use crate::platform::{self, Blob, DroppedFile};

/// The file that makes files a model.
const CONFIGURATION: &str = "config.json";

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
#[allow(missing_docs, reason = "the names say it")]
pub struct Picked {
    pub purpose: Purpose,
    pub name: String,
    /// Its contents, or why it cannot be read.
    pub bytes: Result<Vec<u8>, String>,
}

/// Files of a model that came in.
#[derive(Clone, Debug)]
pub struct PickedModel {
    /// Its folder's name.
    pub name: String,
    /// Its files, or why they cannot be had.
    pub blobs: Result<Vec<Blob>, String>,
}

/// Where picked files arrive, a frame or many later.
pub struct Files {
    sender: Sender<Picked>,
    receiver: Receiver<Picked>,
    models: (Sender<PickedModel>, Receiver<PickedModel>),
}

impl Default for Files {
    fn default() -> Self {
        let (sender, receiver) = async_channel::unbounded();
        Self { sender, receiver, models: async_channel::unbounded() }
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

    /// Opens a dialog for a model's folder; in a browser, for its files.
    pub fn pick_model(&self, ctx: &eframe::egui::Context) {
        let dialog = platform::pick_model();
        let (sender, ctx) = (self.models.0.clone(), ctx.clone());
        platform::spawn("dialog", move || async move {
            if let Some((name, blobs)) = dialog.await {
                let _ = sender.try_send(PickedModel { name, blobs });
                ctx.request_repaint();
            }
        });
    }

    /// Takes files that were dropped together. A folder, and files one of which is a model's configuration, are a model; what
    /// other files are for shows in their names.
    pub fn put_dropped(&self, files: &[DroppedFile], ctx: &eframe::egui::Context) {
        let folder = files.iter().find_map(platform::dropped_folder);
        let is_model = files.iter().any(|f| platform::dropped_name(f) == CONFIGURATION);
        if let Some((name, blobs)) = folder {
            let _ = self.models.0.try_send(PickedModel { name, blobs });
        } else if is_model {
            let blobs: Result<Vec<Blob>, String> = files.iter().map(platform::dropped_blob).collect();
            let _ = self.models.0.try_send(PickedModel { name: platform::dropped_together(files), blobs });
        } else {
            files.iter().for_each(|file| self.put_one(file.clone(), ctx));
        }
    }

    /// The next model that came in.
    #[must_use]
    pub fn next_model(&self) -> Option<PickedModel> {
        self.models.1.try_recv().ok()
    }

    fn put_one(&self, file: DroppedFile, ctx: &eframe::egui::Context) {
        let name = platform::dropped_name(&file);
        let lower = name.to_lowercase();
        let run = [".hiverun", ".safetensors"].iter().any(|end| lower.ends_with(end));
        let purpose = if run { Purpose::Run } else { Purpose::Picture };
        let (sender, ctx) = (self.sender.clone(), ctx.clone());
        platform::spawn("drop", move || async move {
            let bytes = platform::dropped_bytes(&file).await;
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
