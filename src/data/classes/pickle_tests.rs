//! Tests of pickles: what is read, what is refused by name, what is damaged.

use super::*;

fn said(bytes: &[u8]) -> String {
    read("batch", bytes).map_or_else(|e| e.to_string(), |pickle| format!("{:?}", pickle.top()))
}

#[test]
fn numbers_are_as_python_has_them() {
    for (bytes, want) in [
        (&b"\x80\x02K\xff."[..], 255),
        (b"M\x01\x02.", 513),
        (b"J\xff\xff\xff\xff.", -1),
        (b"\x8a\x00.", 0),
        (b"\x8a\x01\xff.", -1),
        (b"\x8a\x02\xff\x00.", 255),
        (b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.", i64::MIN),
    ] {
        assert_eq!(said(bytes), format!("Int({want})"));
    }
}

#[test]
fn values_that_are_kept_are_the_same_when_they_are_recalled() {
    // l = []; t = (l, l); l.append(7)
    let pickle = read("batch", b"]q\x00h\x00\x86h\x00K\x07a0.");
    assert!(pickle.is_err(), "POP is no data's");
    let pickle = read("batch", b"(]q\x00K\x07ah\x00t.").unwrap();
    let Value::Tuple(both) = pickle.top() else { panic!("{:?}", pickle.top()) };
    assert_eq!(both[0], both[1]);
    assert_eq!(*pickle.value(both[1]), Value::List(vec![1]));
    let pickle = read("batch", b"\x80\x04\x95\0\0\0\0\0\0\0\0}\x94(\x8c\x01a\x94K\x01\x8c\x01b\x94]\x94u.").unwrap();
    let Value::Dict(pairs) = pickle.top() else { panic!("{:?}", pickle.top()) };
    assert_eq!(pairs.len(), 2);
}

#[test]
fn what_is_no_data_is_refused_by_name() {
    for (bytes, names) in [
        (&b"\x80\x02cposix\nsystem\nU\x04true\x85R."[..], "posix.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93.", "builtins.eval"),
        (b"(ios\nsystem\n.", "os.system (INST)"),
        (b"(cnumpy\nndarray\no.", "OBJ"),
        (b"cnumpy\nndarray\n)\x81.", "NEWOBJ"),
        (b"\x80\x02U\x01xQ.", "BINPERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\0\x85U\x01b\x87R.", "REDUCE"),
        (b"U\x01a)R.", "REDUCE"),
        (b"}}b.", "BUILD"),
        (b"cnumpy\ndtype\nU\x02i8K\0K\x01\x87R.", "type i8"),
        (b"cnumpy\ndtype\nU\x01OK\0K\x01\x87R.", "type O"),
        (b"\xfe.", "0xfe"),
        (b"I1\n.", "INT"),
    ] {
        let said = said(bytes);
        assert!(said.contains(names) && said.starts_with("batch, byte "), "{names}: {said}");
    }
}

#[test]
fn what_is_damaged_asks_nothing_of_the_memory() {
    for bytes in [
        &b""[..],
        b".",
        b"K",
        b"T\xff\xff\xff\xff",
        b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff",
        b"]K\x01",
        b"a.",
        b"K\x01u.",
        b"(K\x01a.",
        b"](K\x01a.",
        b"}(K\x01u.",
        b"t.",
        b"h\x07.",
        b"q\x07.",
        b"\x86.",
        b"cnumpy",
        b"(.",
    ] {
        assert!(read("batch", bytes).is_err(), "{bytes:?}");
    }
    let many = [vec![b'N'; LEAST / VALUE + 1], b".".to_vec()].concat();
    assert!(said(&many).contains("far more values"), "{}", said(&many));
    // A product of sizes that no number holds.
    let array = |shape: &[u8], flag: &[u8], data: &[u8]| {
        let start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\0\x85U\x01b\x87R(K\x01";
        let of = b"cnumpy\ndtype\nU\x02u1K\0K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb";
        let data = [&[b'U', data.len() as u8], data].concat();
        [&start[..], shape, of, flag, &data, b"tb."].concat()
    };
    let huge = b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x87";
    assert!(said(&array(huge, b"\x89", b"abc")).contains("with 3 bytes"));
    assert!(said(&array(b"K\x02K\x02\x86", b"\x88", b"abcd")).contains("column by column"));
    assert!(said(&array(b"J\xff\xff\xff\xff\x85", b"\x89", b"abcd")).contains("damaged"));
    assert!(said(&array(b"K\x02K\x02\x86", b"\x89", b"abcd")).contains("Array { shape: [2, 2]"));
}
