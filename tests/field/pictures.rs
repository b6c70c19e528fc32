//! Pictures as people have them: turned by a tag, cut off, huge, no files at all, the same one in several entries.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
#[cfg(target_os = "linux")]
use std::time::Duration;

use hive::data::folder::{Files, Folder, Problems, SplitBy, Stamp};
use hive::data::image::{ImageError, Preprocess, Rgb, content, decode, resize, resize_padded};
use hive::data::worlds::Split;
use hive::platform::read_regular;
use image::{ImageFormat, RgbImage};
use serde_json::json;

use crate::common::program::{adapter, command, folder, hive, text};
use crate::common::repository;

fn data(path: &str) -> Vec<u8> {
    std::fs::read(repository(&format!("tests/field/data/{path}"))).unwrap()
}

/// A picture by a number, no two alike.
fn noise(number: u32, width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let mut v = (number * 7919 + y * width + x + 1).wrapping_mul(2_654_435_761);
        v ^= v >> 15;
        image::Rgb([v as u8, (v >> 8) as u8, (v >> 16) as u8])
    })
}

fn file_of(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    picture.write_to(&mut out, format).unwrap();
    out.into_inner()
}

/// A list of entries about pictures: for each its name and how many entries it has.
fn list(pictures: &[(String, usize)]) -> String {
    let names = pictures.iter().flat_map(|(name, n)| std::iter::repeat_n(name, *n));
    let entry = |(i, name): (usize, &String)| {
        format!(
            r#"{{"id": {i}, "image": "{name}", "conversations": [{{"from": "human", "value": "<image> what ?"}}, {{"from": "gpt", "value": "a {name}"}}]}}"#
        )
    };
    names.enumerate().map(entry).collect::<Vec<_>>().join("\n")
}

#[test]
fn photographs_are_upright() {
    let upright = decode(&data("photo-orientation/upright.png"), "upright", None).unwrap();
    for file in ["2.png", "3.png", "4.png", "5.png", "6.png", "7.png", "8.png", "8.webp"] {
        let turned = decode(&data(&format!("photo-orientation/orientation-{file}")), file, None).unwrap();
        assert_eq!(turned, upright, "{file}");
    }
    for file in ["3.jpg", "6.jpg"] {
        let turned = decode(&data(&format!("photo-orientation/orientation-{file}")), file, None).unwrap();
        assert_eq!((turned.width, turned.height), (upright.width, upright.height), "{file}");
        let off: f64 = turned.data.iter().zip(&upright.data).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        assert!(off / (upright.data.len() as f64) < 1.0, "{file}: {off}");
    }
}

/// A PNG file with an EXIF part of this orientation, before or behind its pixels.
fn tagged(picture: &RgbImage, orientation: u8, behind: bool) -> Vec<u8> {
    let mut png = file_of(picture, ImageFormat::Png);
    let body = [b"eXIfMM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0", [orientation].as_slice(), &[0; 6]].concat();
    let crc = body
        .iter()
        .fold(u32::MAX, |crc, b| (0..8).fold(crc ^ u32::from(*b), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1))));
    let part = [&((body.len() - 4) as u32).to_be_bytes(), body.as_slice(), &(!crc).to_be_bytes()].concat();
    let at = if behind { png.len() - 12 } else { 33 };
    png.splice(at..at, part);
    png
}

#[test]
fn a_tag_counts_wherever_it_stands_and_only_if_it_means_something() {
    let picture = noise(1, 5, 3);
    let half_turn = image::imageops::rotate180(&picture).into_raw();
    for behind in [false, true] {
        assert_eq!(decode(&tagged(&picture, 3, behind), "p", None).unwrap().data, half_turn, "{behind}");
        for nothing in [0, 1, 9, 255] {
            let as_it_is = decode(&tagged(&picture, nothing, behind), "p", None).unwrap();
            assert_eq!(&as_it_is.data, picture.as_raw(), "{behind} {nothing}");
        }
    }
    // A part that is longer than the file is none.
    let mut broken = tagged(&picture, 3, true);
    let at = broken.len() - 12 - 38;
    broken[at] = 255;
    assert!(decode(&broken, "p", None).is_ok_and(|p| p.width == 5) || decode(&broken, "p", None).is_err());
}

#[test]
fn torn_pictures_are_named() {
    for file in ["01", "02", "03"] {
        let error = decode(&data(&format!("torn-photos/{file}.jpg")), file, None).unwrap_err();
        assert!(matches!(error, ImageError::Torn { .. }), "{error}");
        assert!(error.to_string().contains("is cut off"), "{error}");
    }
    let whole = data("torn-photos/00.jpg");
    let all = decode(&whole, "00", None).unwrap();
    for cut in (2..whole.len()).step_by(7).chain([whole.len() - 1]) {
        decode(&whole[..cut], "00", None).unwrap_err();
    }
    // A small picture inside a photograph has an end of its own; behind the end there may be anything.
    let small: &[u8] = &[0xff, 0xe1, 0, 12, b'E', b'x', 0xff, 0xd8, 1, 2, 3, 4, 0xff, 0xd9];
    let photo = [&whole[..2], small, &whole[2..], b"\0\0more"].concat();
    assert_eq!(decode(&photo, "photo", None).unwrap(), all);
    assert!(matches!(decode(&photo[..photo.len() / 2], "photo", None), Err(ImageError::Torn { .. })));
    for format in [ImageFormat::Png, ImageFormat::WebP] {
        let whole = file_of(&noise(2, 40, 40), format);
        for part in [whole.len() / 4, whole.len() / 2, whole.len() - 20] {
            decode(&whole[..part], "torn", None).unwrap_err();
        }
    }
    assert!(decode(&[], "nothing", None).unwrap_err().to_string().contains("the file is empty"));
}

#[test]
fn files_that_people_take_for_pictures_are_named() {
    for (bytes, says) in [
        (&b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"[..], "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1", "AVIF"),
        (b"GIF89a", "GIF"),
        (b"II*\0", "TIFF"),
    ] {
        let said = decode(bytes, "photo.jpg", None).unwrap_err().to_string();
        assert!(said.starts_with("photo.jpg cannot be read as a picture (") && said.contains(says), "{said}");
    }
}

#[test]
fn the_limit_of_a_picture_is_the_real_one() {
    let says = |file: &str| decode(&data(&format!("large-pictures/{file}")), file, None).unwrap_err().to_string();
    for (file, size) in [("black-16384.png", "16384x16384"), ("palette-16000.png", "16000x16000")] {
        let said = says(file);
        assert!(said.contains(size) && said.contains("50 million in all"), "{said}");
    }
    // What is said to fit fits, and beyond a side it does not.
    let strip = |width| file_of(&RgbImage::new(width, 1), ImageFormat::Png);
    assert_eq!(decode(&strip(16_384), "strip", None).unwrap().width, 16_384);
    let long = decode(&strip(16_385), "strip", None).unwrap_err().to_string();
    assert!(long.contains("at most 16384 pixels a side"), "{long}");
    let deep = image::ImageBuffer::<image::Rgba<u16>, _>::new(16_000, 2);
    let mut png = Cursor::new(Vec::new());
    deep.write_to(&mut png, ImageFormat::Png).unwrap();
    assert!(decode(png.get_ref(), "deep", None).is_ok());
}

#[test]
fn padding_needs_no_square() {
    for (width, height, side) in [(9, 5, 4), (5, 9, 4), (7, 7, 7), (30, 1, 8), (1, 30, 40), (12, 30, 12)] {
        let raw = noise(3, width, height);
        let picture = Rgb { width: width as usize, height: height as usize, data: raw.clone().into_raw() };
        let whole = width.max(height);
        let mut square = RgbImage::from_pixel(whole, whole, image::Rgb([127, 1, 250]));
        image::imageops::replace(&mut square, &raw, i64::from((whole - width) / 2), i64::from((whole - height) / 2));
        let square = Rgb { width: whole as usize, height: whole as usize, data: square.into_raw() };
        assert_eq!(resize_padded(&picture, [127, 1, 250], side), resize(&square, side, side), "{width}x{height}");
    }
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_told_at_once() {
    let here = folder("no-files");
    let pipe = here.join("pipe.png");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::create_dir_all(here.join("folder.png")).unwrap();
    std::fs::write(here.join("empty.png"), b"").unwrap();
    for i in 0..5 {
        std::fs::write(here.join(format!("{i}.png")), file_of(&noise(i, 9, 9), ImageFormat::Png)).unwrap();
    }
    let names = ["pipe.png", "folder.png", "empty.png", "missing.png", "0.png", "1.png", "2.png", "3.png", "4.png"];
    let (all, mut problems) = Folder::load(&list(&names.map(|n| (n.to_owned(), 1))), "list.jsonl").unwrap();
    let read = |name: &str| read_regular(&here.join(name)).map_err(|e| e.to_string());
    let all =
        all.check_pictures(&mut problems, SplitBy::Picture, &Preprocess::new(8), &read, &mut |_, _| true).unwrap();
    assert_eq!((all.records().len(), problems.count), (5, 4));
    let said: Vec<String> = problems.first.iter().map(ToString::to_string).collect();
    for (said, (line, why)) in
        said.iter().zip([(1, "a pipe or a device"), (2, "a folder"), (3, "the file is empty"), (4, "No such file")])
    {
        assert!(said.starts_with(&format!("list.jsonl:{line}: entry {line} (id ")) && said.contains(why), "{said}");
    }
    // As large as no picture is, without taking any room.
    let huge = here.join("huge.png");
    std::fs::File::create(&huge).unwrap().set_len(5_000_000_000).unwrap();
    hive(&["ask", text(&huge), "what is it ?"]).code(1).complains(&["huge.png", "5000 MB", "at most 100 MB are read"]);
    for path in [&pipe, Path::new("/dev/zero")] {
        hive(&["ask", text(path), "what is it ?"]).code(1).complains(&["a pipe or a device"]);
    }
}

/// The pictures' names, decoded once each, however many entries and rounds there are.
#[test]
fn pictures_are_decoded_once() {
    let pictures: Vec<(String, usize)> = (0..10).map(|i| (format!("{i}.png"), 3)).collect();
    let reads = AtomicUsize::new(0);
    let read = |name: &str| {
        reads.fetch_add(1, Relaxed);
        let number = name.trim_end_matches(".png").parse().unwrap();
        Ok(file_of(&noise(number, 300, 200), ImageFormat::Png))
    };
    let (all, mut problems) = Folder::load(&list(&pictures), "list.jsonl").unwrap();
    let (unseen, _) = Folder::load(&list(&pictures), "list.jsonl").unwrap();
    let prepare = Preprocess::on_white(16);
    let all = all.check_pictures(&mut problems, SplitBy::Picture, &prepare, &read, &mut |_, _| true).unwrap();
    assert_eq!((reads.load(Relaxed), problems), (10, Problems::default()));
    for index in 0..90 {
        let sample = all.sample(Split::Train, 5, index, 1, &prepare, &read).unwrap();
        let name = sample.turns[0].answer.trim_start_matches("a ");
        let number = name.trim_end_matches(".png").parse().unwrap();
        let bytes = file_of(&noise(number, 300, 200), ImageFormat::Png);
        assert_eq!(sample.pixels, prepare.decode(&bytes, name).unwrap(), "{name}");
    }
    assert_eq!(reads.load(Relaxed), 10);
    // Prepared otherwise, or never looked at: read again.
    all.sample(Split::Train, 5, 0, 1, &Preprocess::on_white(8), &read).unwrap();
    unseen.sample(Split::Train, 5, 0, 1, &prepare, &read).unwrap();
    assert_eq!(reads.load(Relaxed), 12);
}

/// When a file was written, and its bytes, or none if it is being written.
type Written = (u64, Option<Vec<u8>>);

/// Pictures whose files change, by name.
#[derive(Default)]
struct Disk {
    files: Mutex<BTreeMap<String, Written>>,
    reads: AtomicUsize,
}

impl Files for Disk {
    fn read(&self, name: &str) -> Result<Vec<u8>, String> {
        self.reads.fetch_add(1, Relaxed);
        self.files.lock().unwrap().get(name).and_then(|f| f.1.clone()).ok_or_else(|| "gone".to_owned())
    }

    fn stamp(&self, name: &str) -> Option<Stamp> {
        let time = |f: &Written| std::time::UNIX_EPOCH + std::time::Duration::from_secs(f.0);
        self.files.lock().unwrap().get(name).map(|f| (7, Some(time(f))))
    }
}

/// A picture that changes while it is in use is used as it is then; of one that goes, the last is.
#[test]
fn pictures_that_change_are_noticed() {
    let disk = Disk::default();
    let put = |i: u32, time: u64, shows: Option<u32>| {
        let bytes = shows.map(|n| file_of(&noise(n, 30, 20), ImageFormat::Png));
        disk.files.lock().unwrap().insert(format!("{i}.png"), (time, bytes));
    };
    (0..4).for_each(|i| put(i, 1, Some(i)));
    let pictures: Vec<(String, usize)> = (0..4).map(|i| (format!("{i}.png"), 2)).collect();
    let (all, mut problems) = Folder::load(&list(&pictures), "list.jsonl").unwrap();
    let prepare = Preprocess::on_white(16);
    let all = all.check_pictures(&mut problems, SplitBy::Picture, &prepare, &disk, &mut |_, _| true).unwrap();
    let shown = |number: u32| prepare.decode(&file_of(&noise(number, 30, 20), ImageFormat::Png), "p").unwrap();
    // What each name shows in a round.
    let round = |shows: [u32; 4]| {
        for index in 0..8 {
            let sample = all.sample(Split::Train, 5, index, 1, &prepare, &disk).unwrap();
            let name: usize = sample.turns[0].answer[2..3].parse().unwrap();
            assert_eq!(sample.pixels, shown(shows[name]), "{name}");
        }
    };
    round([0, 1, 2, 3]);
    assert_eq!((disk.reads.load(Relaxed), all.notes()), (4, Vec::new()));
    // Touched, changed, changed while it is being written, removed: each is read once more.
    put(0, 2, Some(0));
    put(1, 2, Some(11));
    put(2, 2, None);
    disk.files.lock().unwrap().remove("3.png");
    round([0, 11, 2, 3]);
    round([0, 11, 2, 3]);
    assert_eq!(disk.reads.load(Relaxed), 8);
    let said = all.notes().join("; ");
    assert!(said.starts_with("1 pictures of list.jsonl changed") && said.contains(": 1.png; 2 pictures"), "{said}");
    assert!(said.ends_with("what they showed before is used: 2.png, 3.png"), "{said}");
    // Written at last.
    put(2, 3, Some(12));
    round([0, 11, 12, 3]);
    assert!(all.notes()[0].ends_with("1.png, 2.png"), "{:?}", all.notes());
}

/// The right values are Pillow's: `convert("RGB")`, and `alpha_composite` over white; Pillow 13.0 with libjpeg-turbo wrote them.
#[test]
fn pictures_of_every_kind_are_pillows() {
    let want: serde_json::Value = serde_json::from_slice(&data("pillow/want.json")).unwrap();
    for (file, right) in want.as_object().unwrap() {
        let numbers = |key: &str| -> Option<Vec<u8>> { serde_json::from_value(right.get(key)?.clone()).ok() };
        for (key, background) in [("rgb", None), ("on_white", Some([255; 3]))] {
            let Some(values) = numbers(key) else { continue };
            let made = decode(&data(&format!("pillow/{file}")), file, background).unwrap();
            assert_eq!((json!(made.width), json!(made.height)), (right["width"].clone(), right["height"].clone()));
            // Grey of 16 bits Pillow cuts at 255, which shows nothing: the upper byte is taken, as of every other kind.
            let cut = file == "grey-16.png";
            let off = |(a, b): (&u8, &u8)| if cut { u8::from(*a > 0 && *b == 0) } else { a.abs_diff(*b) };
            let off: Vec<u8> = made.data.iter().zip(&values).map(off).collect();
            let (most, sum) = (off.iter().copied().max().unwrap(), off.iter().map(|v| usize::from(*v)).sum::<usize>());
            // Decoders of JPEG files round differently; blending over white, Pillow does.
            let allowed = if file.ends_with(".jpg") { 4 } else { u8::from(key == "on_white") };
            assert!(made.data.len() == values.len() && most <= allowed, "{file} {key}: {most}");
            assert!(sum <= values.len(), "{file} {key}: {sum} of {}", values.len());
        }
    }
}

/// The most memory that the program had while it answered, in bytes.
#[cfg(target_os = "linux")]
fn peak(picture: &Path) -> u64 {
    let mut child = command(&["ask", text(picture), "what is it ?"]).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    while child.try_wait().unwrap().is_none() {
        let lines = std::fs::read_to_string(&status).unwrap_or_default();
        let peak =
            lines.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        most = most.max(peak.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    most
}

/// With the largest picture that is read, too. A driver may take what it likes: what the picture adds is little then.
#[cfg(target_os = "linux")]
#[test]
fn asking_about_the_largest_picture_takes_little_memory() {
    if !adapter() {
        return;
    }
    let here = folder("largest-picture");
    let (small, large) = (here.join("small.png"), here.join("large.png"));
    RgbImage::new(40, 40).save(&small).unwrap();
    image::GrayImage::new(7090, 7090).save(&large).unwrap();
    let (small, large) = (peak(&small), peak(&large));
    assert!(small > 20_000_000 && large > 150_000_000, "{small} {large}");
    assert!(large < 280_000_000 || large < small + 80_000_000, "{small} {large}");
}

#[test]
fn a_picture_is_itself_under_every_name() {
    let of = |bytes: &[u8]| content(bytes, &decode(bytes, "p", None).unwrap());
    let png = file_of(&noise(4, 20, 12), ImageFormat::Png);
    assert_eq!(of(&png), of(&file_of(&noise(4, 20, 12), ImageFormat::WebP)));
    assert_eq!(of(&png), of(&tagged(&image::imageops::rotate180(&noise(4, 20, 12)), 3, false)));
    assert_ne!(of(&png), of(&file_of(&noise(5, 20, 12), ImageFormat::Png)));
    // The same bytes in another shape are another picture.
    let other = RgbImage::from_raw(12, 20, noise(4, 20, 12).into_raw()).unwrap();
    assert_ne!(of(&png), of(&file_of(&other, ImageFormat::Png)));
    let jpeg = data("torn-photos/00.jpg");
    let remark: &[u8] = &[0xff, 0xfe, 0, 6, b'h', b'e', b'r', b'e'];
    assert_eq!(of(&jpeg), of(&[&jpeg[..2], remark, &jpeg[2..]].concat()));
    assert_ne!(of(&jpeg), of(&data("torn-photos/04.jpg")));
    // A number in the files of runs: it never changes.
    let fixed = Rgb { width: 2, height: 1, data: vec![1, 2, 3, 4, 5, 6] };
    assert_eq!(content(b"", &fixed), PINNED);
}

/// Of the two pixels above, worked out apart from the program.
const PINNED: u64 = 0xba7f_4d92_158e_3330;

/// All entries about one picture are in the same part, under whatever name it goes.
#[test]
fn no_picture_is_in_both_parts() {
    for count in [2, 8, 9, 30] {
        // Every second name is a copy of the one before.
        let pictures: Vec<(String, usize)> = (0..2 * count).map(|i| (format!("{i}.png"), 6)).collect();
        let read = |name: &str| {
            let number: u32 = name.trim_end_matches(".png").parse().unwrap();
            let format = if number.is_multiple_of(2) { ImageFormat::Png } else { ImageFormat::WebP };
            Ok(file_of(&noise(number / 2, 16, 16), format))
        };
        let (all, mut problems) = Folder::load(&list(&pictures), "list.jsonl").unwrap();
        let prepare = Preprocess::on_white(8);
        let (by_id, _) = Folder::load(&list(&pictures), "list.jsonl").unwrap();
        let by_id = by_id.check_pictures(&mut problems, SplitBy::Id, &prepare, &read, &mut |_, _| true).unwrap();
        let all = all.check_pictures(&mut problems, SplitBy::Picture, &prepare, &read, &mut |_, _| true).unwrap();
        let names = |folder: &Folder, split| -> BTreeSet<u32> {
            let name = |i| {
                let answer = folder.text_sample(split, 1, i, 1).unwrap().turns[0].answer.clone();
                answer.trim_start_matches("a ").trim_end_matches(".png").parse::<u32>().unwrap() / 2
            };
            (0..folder.size(split) as u64).map(name).collect()
        };
        let (train, held_out) = (names(&all, Split::Train), names(&all, Split::HeldOut));
        assert!(train.is_disjoint(&held_out), "{train:?} {held_out:?}");
        assert_eq!(train.len() + held_out.len(), count as usize);
        // With eight pictures there is something to ask about.
        assert!(!train.is_empty() && (count < 8 || !held_out.is_empty()), "{count}");
        // A run of an earlier version goes on as it began.
        for (i, record) in by_id.records().iter().enumerate() {
            assert_eq!((record.id.clone(), record.split()), (i.to_string(), all.records()[i].split()));
        }
        let held = by_id.records().iter().filter(|r| r.split() == Split::HeldOut).count();
        assert_eq!(by_id.size(Split::HeldOut), held);
    }
}
