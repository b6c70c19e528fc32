//! Published sets of pictures, each of one class, as they are found on disk (`tests/fixtures-eval/make_formats.py` draws them; its
//! broken ones are in `malformed-classes.json`), and what `hive probe` makes of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hive::data::classes::{ClassSet, Files, Kind, LoadError, Part, load};
use hive::data::picture_file::Rgb;
use hive::platform::{list_tree, read_file};
use serde_json::{Value, json};

use crate::common::program::folder;
use crate::common::repository;

const FORMATS: &str = "tests/fixtures-eval/formats";

fn json_of(name: &str) -> Value {
    serde_json::from_slice(&read_file(&repository(FORMATS).join(name)).unwrap()).unwrap()
}

/// Loads a set and decodes all of its pictures; without a kind, the one that is found.
fn loaded_from(kind: Option<Kind>, root: &Path) -> Result<(ClassSet, Vec<Rgb>), LoadError> {
    let read = |name: &str| read_file(&root.join(name));
    let files = Files::new(list_tree(root).unwrap(), &read);
    let kind = kind.map_or_else(|| Kind::found(&files), Ok)?;
    let set = load(kind, &files)?;
    let decode = |i: usize| {
        let place = &set.pictures[i].place;
        place.picture(&place.bytes(&files)?, None)
    };
    let pictures = (0..set.pictures.len()).map(decode).collect::<Result<_, _>>()?;
    Ok((set, pictures))
}

fn loaded(kind: Option<Kind>, folder: &str) -> Result<(ClassSet, Vec<Rgb>), LoadError> {
    loaded_from(kind, &repository(FORMATS).join(folder))
}

fn is_near(picture: &Rgb, [y, x]: [usize; 2], want: &Value) -> bool {
    let at = 3 * (y * picture.width + x);
    let want = want.as_array().unwrap().iter().map(|v| v.as_i64().unwrap());
    picture.data[at..at + 3].iter().zip(want).all(|(a, b)| (i64::from(*a) - b).abs() <= 4)
}

/// File, part and class of every picture.
fn listed(set: &ClassSet) -> Vec<(&str, Part, &str)> {
    set.pictures.iter().map(|p| (p.place.name(), p.part, set.classes[p.class].as_str())).collect()
}

/// A set in a folder of its own, of these files.
fn made(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
    let root = folder(name);
    for (name, bytes) in files {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), bytes).unwrap();
    }
    root
}

fn said(kind: Option<Kind>, root: &Path) -> String {
    loaded_from(kind, root).unwrap_err().to_string()
}

#[test]
fn both_forms_of_cifar_give_the_same_records() {
    let expected = json_of("cifar10/expected.json");
    for form in ["binary", "python"] {
        let (set, pictures) = loaded(None, &format!("cifar10/{form}")).unwrap();
        assert_eq!((set.kind, set.pictures.len(), set.classes.len()), (Kind::Cifar10, 3, 10), "{form}");
        for ((want, record), picture) in expected.as_array().unwrap().iter().zip(&set.pictures).zip(&pictures) {
            assert_eq!(want["split"], record.part.name(), "{form}");
            assert_eq!((&want["label"], &want["name"]), (&json!(record.class), &json!(set.classes[record.class])));
            assert_eq!([picture.width, picture.height], [32, 32]);
            assert!(is_near(picture, [0, 0], &want["corner"]) && is_near(picture, [16, 16], &want["centre"]), "{want}");
        }
        assert!(set.notes.iter().any(|note| note.contains("2, 3, 4, 5 is not there")), "{:?}", set.notes);
    }
    assert!(json_of("malformed-classes.json").as_array().unwrap().iter().any(|case| case["form"] == "python"));
}

#[test]
fn labels_of_imagenet_are_those_of_sorted_names() {
    let expected = json_of("imagenet/expected.json");
    let whole = repository(FORMATS).join("imagenet");
    let picked = |name: &str, without: &str| {
        let root = folder(name);
        for file in list_tree(&whole).unwrap().into_iter().filter(|file| !file.starts_with(without)) {
            std::fs::create_dir_all(root.join(&file).parent().unwrap()).unwrap();
            std::fs::copy(whole.join(&file), root.join(&file)).unwrap();
        }
        root
    };
    let (kaggle, kit) = (picked("imagenet-kaggle", "devkit"), picked("imagenet-kit", "kaggle"));
    for root in [&whole, &kaggle, &kit] {
        let (set, pictures) = loaded_from(None, root).unwrap();
        assert_eq!(
            (set.kind, &set.classes[..]),
            (Kind::ImageNet, &["n09000001".to_owned(), "n09000002".to_owned()][..])
        );
        let tests: BTreeMap<&str, usize> = set
            .pictures
            .iter()
            .filter(|p| p.part == Part::Test)
            .map(|p| (p.place.name().rsplit('/').next().unwrap(), p.class))
            .collect();
        let want: BTreeMap<&str, usize> = expected
            .as_array()
            .unwrap()
            .iter()
            .map(|item| (item["file"].as_str().unwrap(), item["label"].as_u64().unwrap() as usize))
            .collect();
        assert_eq!(tests, want);
        assert_eq!(set.counts(Part::Train), [1, 1]);
        // One has four inks, another is a PNG file by another name.
        assert!(pictures.iter().all(|picture| [picture.width, picture.height] == [64, 48]));
        let red = set.pictures.iter().position(|p| p.place.name().ends_with("val_00000003.JPEG")).unwrap();
        assert!(is_near(&pictures[red], [24, 32], &json!([214, 40, 40])));
    }
    // Lists that do not agree, and numbers without the names that they are of.
    std::fs::write(kit.join("devkit/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n3\n1\n").unwrap();
    assert!(said(None, &kit).contains("line 3") && said(None, &kit).contains("\"3\""));
    std::fs::write(kit.join("devkit/ILSVRC2012_validation_ground_truth.txt"), "1\n2\n2\n").unwrap();
    assert!(said(None, &kit).contains("val_00000004.JPEG"), "{}", said(None, &kit));
    std::fs::remove_file(kit.join("devkit/synsets.tsv")).unwrap();
    assert!(said(None, &kit).contains("meta.mat") && said(None, &kit).contains("synsets.tsv"));
    let both = picked("imagenet-both", "nothing");
    std::fs::write(both.join("devkit/ILSVRC2012_validation_ground_truth.txt"), "1\n1\n2\n1\n").unwrap();
    let error = said(None, &both);
    assert!(["val_00000002", "n09000001", "n09000002", "line 2"].iter().all(|word| error.contains(word)), "{error}");
    std::fs::remove_dir_all(both.join("train/n09000002")).unwrap();
    std::fs::remove_dir_all(both.join("devkit")).unwrap();
    assert!(said(None, &both).contains("a class that train lacks"));
}

#[test]
fn sets_with_folders_and_lists_load() {
    let (set, pictures) = loaded(None, "food101").unwrap();
    assert_eq!(set.kind, Kind::Food101);
    assert_eq!(
        listed(&set),
        [
            ("images/round_cake/101.jpg", Part::Train, "round_cake"),
            ("images/square_cake/202.jpg", Part::Train, "square_cake"),
            ("images/round_cake/303.jpg", Part::Test, "round_cake"),
        ]
    );
    assert!(is_near(&pictures[2], [24, 32], &json!([218, 37, 44])));
    let (set, pictures) = loaded(None, "pets").unwrap();
    assert_eq!((set.kind, set.left_out), (Kind::Pets, 1));
    assert_eq!(
        listed(&set),
        [
            ("images/Round_Cat_1.jpg", Part::Train, "Round_Cat"),
            ("images/square_dog_10.jpg", Part::Train, "square_dog"),
            ("images/Round_Cat_2.jpg", Part::Test, "Round_Cat"),
        ]
    );
    // A GIF file by another name.
    assert!(
        is_near(&pictures[2], [0, 0], &json!([250, 250, 250])) && is_near(&pictures[2], [24, 32], &json!([16, 16, 16]))
    );
    let (set, _) = loaded(None, "caltech256").unwrap();
    assert_eq!((set.kind, set.left_out, set.divided), (Kind::Caltech256, 2, false));
    assert_eq!(set.classes, ["001.round-thing", "002.square-thing", "257.clutter"]);
    assert_eq!(set.counts(Part::Train), [1, 1, 1]);
    let (set, pictures) = loaded(None, "folders").unwrap();
    assert_eq!(
        (set.kind, set.left_out, &set.classes[..]),
        (Kind::Folders, 1, &["round".to_owned(), "square".to_owned()][..])
    );
    assert_eq!((set.counts(Part::Train), set.counts(Part::Test)), (vec![2, 1], vec![1, 1]));
    assert!(is_near(&pictures[4], [24, 32], &json!([40, 80, 210])));
    // One part alone is a set that is not divided.
    let (set, _) = loaded(None, "folders/train").unwrap();
    assert_eq!((set.divided, set.counts(Part::Train)), (false, vec![2, 1]));
}

#[test]
fn broken_class_sets_are_named_with_their_place() {
    let cases = json_of("malformed-classes.json");
    let mut wrong = Vec::new();
    for case in cases.as_array().unwrap() {
        let (path, why) = (case["path"].as_str().unwrap(), &case["why"]);
        let named = Kind::ALL.into_iter().find(|kind| kind.name() == case["task"]).unwrap();
        for kind in [None, Some(named)] {
            let Err(error) = loaded(kind, path) else {
                wrong.push(format!("{path} was taken: {why}"));
                continue;
            };
            let said = error.to_string().to_lowercase();
            let names = case["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_lowercase());
            let missing: Vec<String> = names.filter(|name| !said.contains(name)).collect();
            if !missing.is_empty() {
                wrong.push(format!("{path} ({why}): \"{error}\" does not name {missing:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(cases.as_array().unwrap().len(), 8);
}

/// Faults that lists can have: what is written, to which file, and what is to be said.
#[test]
fn faults_of_lists_are_named() {
    let whole = |set: &str| {
        let root = repository(FORMATS).join(set);
        let names = list_tree(&root).unwrap();
        names.into_iter().map(|name| (name.clone(), read_file(&root.join(name)).unwrap())).collect::<BTreeMap<_, _>>()
    };
    let cases: [(&str, &str, Option<&str>, &[&str]); 20] = [
        (
            "food101",
            "meta/train.txt",
            Some("round_cake/101\nround_cake/909\n"),
            &["meta/train.txt, line 2", "round_cake/909"],
        ),
        ("food101", "meta/train.txt", Some("round_cake\n"), &["meta/train.txt, line 1", "/"]),
        (
            "food101",
            "meta/test.txt",
            Some("\r\ntall_cake/1\r\n"),
            &["meta/test.txt, line 2", "tall_cake", "classes.txt"],
        ),
        (
            "food101",
            "meta/test.txt",
            Some("round_cake/101\n"),
            &["meta/test.txt, line 1", "twice", "meta/train.txt, line 1"],
        ),
        ("food101", "meta/test.txt", None, &["meta/test.txt is not there"]),
        ("food101", "meta/classes.txt", Some("round_cake\nround_cake\n"), &["line 2", "twice"]),
        ("pets", "annotations/test.txt", Some("Round_Cat_2 38 1 1\n"), &["test.txt, line 1", "38", "1 to 37"]),
        ("pets", "annotations/test.txt", Some("Round_Cat_2 0 1 1\n"), &["test.txt, line 1", "is 0"]),
        ("pets", "annotations/test.txt", Some("Round_Cat_2\n"), &["test.txt, line 1", "Round_Cat_2"]),
        ("pets", "annotations/test.txt", Some("Round_Cat_2 2 1 1\n"), &["test.txt, line 1", "class 2", "square_dog"]),
        ("pets", "annotations/test.txt", Some("Round_Cat_7 1 1 1\n"), &["test.txt, line 1", "images/Round_Cat_7.jpg"]),
        ("pets", "annotations/test.txt", None, &["annotations/test.txt is not there"]),
        (
            "imagenet",
            "kaggle/LOC_val_solution.csv",
            Some("ImageId,PredictionString\nILSVRC2012_val_00000002\n"),
            &["line 2", "comma"],
        ),
        (
            "imagenet",
            "kaggle/LOC_val_solution.csv",
            Some("ILSVRC2012_val_00000002,cat 1 2 3 4\n"),
            &["line 1", "\"cat\""],
        ),
        ("imagenet", "kaggle/LOC_synset_mapping.txt", Some("n09000001 a\nn09000001 b\n"), &["line 2", "twice"]),
        ("imagenet", "devkit/synsets.tsv", Some("a\tb\n1\tn09000001\n"), &["synsets.tsv, line 1", "WNID"]),
        (
            "cifar10/binary",
            "cifar-10-batches-bin/batches.meta.txt",
            Some("cat\ndog\n"),
            &["batches.meta.txt", "2 names", "10"],
        ),
        ("cifar10/binary", "cifar-10-batches-bin/test_batch.bin", Some(""), &["test_batch.bin", "empty"]),
        ("cifar10/python", "cifar-10-batches-py/test_batch", Some("\u{1}"), &["test_batch", "byte 0"]),
        ("folders", "val/flat.png", Some("x"), &[]),
    ];
    for (i, (set, name, text, words)) in cases.into_iter().enumerate() {
        let mut files = whole(set);
        match text {
            Some(text) => drop(files.insert(name.to_owned(), text.as_bytes().to_vec())),
            None => drop(files.remove(name)),
        }
        let files: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
        let root = made(&format!("class-fault-{i}"), &files);
        match loaded_from(None, &root) {
            Ok((loaded, _)) => {
                assert!(words.is_empty() && loaded.left_out > 1, "{set}: {name} with {text:?} was taken");
            }
            Err(error) => {
                let said = error.to_string();
                assert!(
                    !words.is_empty() && words.iter().all(|word| said.contains(word)),
                    "{set}: {name} with {text:?}: {said}"
                );
            }
        }
    }
}

#[test]
fn a_folder_that_is_no_set_is_named() {
    let png = &read_file(&repository(FORMATS).join("folders/train/round/a.png")).unwrap()[..];
    for (i, (files, words)) in [
        (&[("a.png", png)][..], "no class folders"),
        (&[("notes.txt", b"")], "no pictures"),
        (&[("val/round/a.png", png)], "no train folder"),
        (&[("train/round/a.png", png), ("val/a.png", png)], "val: there are no class folders"),
        (&[("meta/train.txt", b""), ("data_batch_1.bin", b"")], "cifar10 and food101"),
        (&[("a/data_batch_1.bin", b""), ("b/test_batch.bin", b"")], "a and in b"),
        (&[("data_batch_1.bin", b""), ("data_batch_2", b"")], "both forms"),
        (&[("train", b""), ("test", b""), ("meta", b"")], "CIFAR-100"),
        (
            &[("256_ObjectCategories/001.a/x.jpg", png), ("256_ObjectCategories/b/x.jpg", png)],
            "b: it is no class of Caltech",
        ),
        (&[("001.a/x.jpg", png), ("001.b/x.jpg", png)], "001.a has the same number"),
        (
            &[("train/round/x.PNG", png), ("train/round/more/b.png", png), ("train/square/more/b.png", png)],
            "square: there are no pictures",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let error = said(None, &made(&format!("class-none-{i}"), files));
        assert!(error.contains(words), "{files:?}: {error}");
    }
}
