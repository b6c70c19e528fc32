//! `--data`: a user's folder of pictures with its list, or the list itself.

use std::io;
use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::output::warn;
use super::progress::Progress;
use super::shared::{ended, stop_if_asked};
use crate::data::folder::{Files, Folder, Problems, SplitBy, Stamp};
use crate::data::image::LARGEST_FILE;
use crate::data::tokenizer::Tokenizer;
use crate::platform;
use crate::train::checkpoint::Meta;
use crate::train::recipe::Preset;
use crate::train::source::{LeftOut, Source};

/// Most words of a folder's vocabulary.
const FOLDER_WORDS: usize = 2000;
/// Words of every vocabulary that no text has.
const SPECIAL: usize = 4;
/// Most faults of a list that are shown.
const SHOWN: usize = 20;

/// The data of a folder (its conversation list and pictures); sets the preset's vocabulary to the folder's words. What an
/// `earlier` run of these data decided stays: its words, and which pictures are held out.
pub(super) fn folder_source(data: &str, preset: &mut Preset, earlier: Option<&Meta>) -> Result<Source, Fault> {
    let Found { folder, list, bytes, passed_over } = find(Path::new(data))?;
    let text = Folder::text(&bytes, &list).map_err(Fault::failed)?;
    let (data, mut problems) = Folder::load(&text, &list).map_err(Fault::failed)?;
    let total = data.records().len() + problems.count;
    let size = preset.model.vision_config.image_size;
    let reader = Pictures(folder);
    let by = earlier.map_or(SplitBy::Picture, |meta| meta.split);
    let mut progress = Progress::new();
    let checked = data.check_pictures(&mut problems, by, &Source::preprocess(size), &reader, &mut |done, of| {
        progress.show(|| format!("{done} of {of} pictures are prepared"));
        ended().is_none()
    });
    drop(progress);
    stop_if_asked(|| Ok(format!("stopped while the pictures of {list} were prepared: nothing was begun")))?;
    let data = checked.map_err(Fault::failed)?;
    for p in problems.first.iter().take(SHOWN) {
        warn(&format!("{p}\n"));
    }
    let mut notes = passed_over;
    notes.append(&mut problems.notes);
    notes.extend(left_out(&problems, &list, total));
    let mut tokenizer = Tokenizer::from_texts(data.texts(), FOLDER_WORDS);
    if let Some(earlier) = earlier {
        notes.extend(unknown_words(&list, &tokenizer, &earlier.tokenizer)?);
        if earlier.data.is_some_and(|known| known != data.fingerprint()) {
            notes.push(format!(
                "{list} and its pictures are not those that the run was begun with: it goes on with these"
            ));
        }
        tokenizer = earlier.tokenizer.clone();
    }
    preset.data = "folder".into();
    preset.model.text_config.vocab_size = tokenizer.size();
    let mut source = Source::folder(data, size, Box::new(reader), tokenizer, preset.mix.clone(), preset.seed);
    notes.extend(nothing_held_out(&list, &source));
    notes.extend(source.too_long(preset.tokens).map(|long| long.to_string()));
    notes.iter().for_each(|note| warn(&format!("{note}\n")));
    source.notes = notes;
    let first = problems.first.iter().take(SHOWN).map(ToString::to_string).collect();
    source.left_out = Some(LeftOut { entries: problems.count, of: total, first });
    Ok(source)
}

/// Which words of a list the run does not know, in a sentence.
///
/// # Errors
/// It knows so few of them that the list is of something else.
fn unknown_words(list: &str, new: &Tokenizer, own: &Tokenizer) -> Result<Option<String>, Fault> {
    let all = &new.words()[SPECIAL..];
    let unknown: Vec<&str> = all.iter().filter(|w| !own.words().contains(w)).map(String::as_str).collect();
    if unknown.is_empty() {
        return Ok(None);
    }
    let some = unknown.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    let text = format!("{} of {} words of {list} are unknown to the model: {some}", unknown.len(), all.len());
    if unknown.len() * 2 >= all.len() {
        let help = "These are other data than it learned from. Give its own with --data, or begin a new run";
        return Err(Fault::Failed(format!("{text}. {help}")));
    }
    Ok(Some(format!("{text}. They are read as the unknown word")))
}

/// That nothing is kept to ask a model about afterwards, where that is so.
fn nothing_held_out(list: &str, source: &Source) -> Option<String> {
    (source.held_out_size() == 0).then(|| {
        format!("none of the pictures of {list} is held out, so that nothing can be said of accuracy: 8 different ones are needed for that")
    })
}

fn left_out(problems: &Problems, list: &str, total: usize) -> Option<String> {
    let count = problems.count;
    let more = count.saturating_sub(SHOWN);
    let first =
        if more > 0 { format!(" (the first {SHOWN} are named above, {more} more are not)") } else { String::new() };
    (count > 0).then(|| format!("{count} entries of {list} were skipped, {} of {total} are used{first}", total - count))
}

/// The pictures beside a list.
struct Pictures(PathBuf);

impl Pictures {
    /// What `get` finds by a name. A list from Windows may part it by backslashes.
    fn find<T>(&self, name: &str, get: impl Fn(&Path) -> io::Result<T>) -> io::Result<T> {
        match get(&self.0.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound && name.contains('\\') => {
                get(&self.0.join(name.replace('\\', "/")))
            }
            other => other,
        }
    }
}

impl Files for Pictures {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.find(name, picture_file).map_err(|e| e.to_string())
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        self.find(name, platform::stamp).ok()
    }
}

/// The bytes of a picture's file.
pub(super) fn picture_file(path: &Path) -> io::Result<Vec<u8>> {
    let (size, _) = platform::stamp(path)?;
    if size > LARGEST_FILE {
        let millions = |bytes| bytes / 1_000_000;
        let (size, most) = (millions(size), millions(LARGEST_FILE));
        return Err(io::Error::other(format!("it has {size} MB, and pictures of at most {most} MB are read")));
    }
    platform::read_regular(path)
}

/// A list and what is beside it.
struct Found {
    folder: PathBuf,
    list: String,
    bytes: Vec<u8>,
    /// Files that could be meant and are not read, in sentences.
    passed_over: Vec<String>,
}

/// Does the name end like this, in whatever case?
fn ends(name: &str, endings: &[&str]) -> bool {
    let ending = Path::new(name).extension().map(|e| e.to_string_lossy().to_lowercase());
    ending.is_some_and(|e| endings.contains(&e.as_str()))
}

/// The list in a folder, or the one that is named.
fn find(data: &Path) -> Result<Found, Fault> {
    let read = |path: &Path| platform::read_regular(path).map_err(|e| Fault::unreadable(path, &e));
    if !platform::is_folder(&data.to_string_lossy()) && ends(&data.to_string_lossy(), &["json", "jsonl", "ndjson"]) {
        let bytes = read(data)?;
        let folder = data.parent().map(Path::to_path_buf).unwrap_or_default();
        let list = data.file_name().unwrap_or_default().to_string_lossy().into_owned();
        return Ok(Found { folder, list, bytes, passed_over: Vec::new() });
    }
    let folder = data.to_path_buf();
    let names = platform::list_folder(data).map_err(|e| Fault::unreadable(data, &e))?;
    let there = folder.display();
    let (hidden, names): (Vec<String>, Vec<String>) = names.into_iter().partition(|n| n.starts_with('.'));
    let is_list =
        |n: &&String| ends(n, &["json", "jsonl", "ndjson"]) && !platform::is_folder(&folder.join(n).to_string_lossy());
    let tables: Vec<&String> = names.iter().filter(|n| ends(n, &["csv", "tsv", "parquet", "arrow"])).collect();
    let candidates: Vec<&String> = names.iter().filter(is_list).collect();
    let (mut lists, mut others) = (Vec::new(), Vec::new());
    for name in &candidates {
        let bytes = read(&folder.join(name))?;
        // What cannot be read as text may be the list all the same: it is named then.
        let speaks = Folder::text(&bytes, name).map_or(true, |text| text.contains("\"conversations\""));
        // Of several lists only the names are told.
        if speaks || candidates.len() == 1 {
            lists.push(((*name).clone(), if lists.is_empty() { bytes } else { Vec::new() }));
        } else {
            others.push(*name);
        }
    }
    if let [(first, _), rest @ ..] = lists.as_slice()
        && !rest.is_empty()
    {
        let all: Vec<&String> = lists.iter().map(|l| &l.0).collect();
        return Err(Fault::Failed(format!(
            "{there} has {} conversation lists, {}: say which with --data {}",
            lists.len(),
            joined(&all),
            quoted(&folder.join(lists.iter().map(|l| &l.0).find(|n| n.contains("train")).unwrap_or(first)))
        )));
    }
    let Some((list, bytes)) = lists.pop() else {
        let not_read = [others, tables].concat();
        let beside = if not_read.is_empty() { String::new() } else { format!("; {} is not one", joined(&not_read)) };
        return Err(Fault::Failed(format!(
            "{there} has no conversation list (*.json or *.jsonl in the LLaVA format){beside}"
        )));
    };
    let sidecars: Vec<&String> = hidden.iter().filter(is_list).collect();
    let passed = [others, tables, sidecars].concat();
    let passed_over = if passed.is_empty() {
        Vec::new()
    } else {
        vec![format!("the list is {list}; beside it {} is passed over", joined(&passed))]
    };
    Ok(Found { folder, list, bytes, passed_over })
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let path = path.display().to_string();
    if path.contains(char::is_whitespace) { format!("\"{path}\"") } else { path }
}

/// The first names, and how many more.
fn joined(names: &[&String]) -> String {
    let mut text = names.iter().take(5).map(|n| n.as_str()).collect::<Vec<_>>().join(", ");
    if names.len() > 5 {
        text.push_str(&format!(" and {} more", names.len() - 5));
    }
    text
}
