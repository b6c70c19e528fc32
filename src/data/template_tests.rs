//! Tests of the bounds and additions of chat templates.

use super::*;

fn render(source: &str) -> Result<String, String> {
    let source = prepared(source).map_err(|e| e.to_string())?;
    let all = environment(&source).map_err(|e| e.to_string())?;
    let messages = minijinja::context! { messages => vec!["a", "b"] };
    all.get_template("chat").unwrap().render(messages).map_err(|e| e.to_string())
}

#[test]
fn looks_change_no_text() {
    for (source, want) in [
        ("{% set x = 1 %}\n{{ x }}\n", "1"),
        ("a {%- set x = 1 -%}\n {{ x }}", "a1"),
        ("  {% set x, y = (1, 'b') %}  \n{{ x ~ y }}", "  \n1b"),
        (
            "{% set ns = namespace(x=[]) %}{% for m in messages %}{% set ns.x = ns.x + [m] %}{% endfor %}{{ ns.x }}",
            "['a', 'b']",
        ),
        ("{% for k, v in {'a': {'b': 1}}.items() %}{{ k }}{{ v }}{% endfor %}", "a{'b': 1}"),
        ("{% macro f(x, y={'z': [1, 2]}) -%} {{ x }}{{ y.z }} {%- endmacro %}{{ f(3) }}", "3[1, 2]"),
        (
            "{% with a = 2, b = [1, 2] %}{{ a * b[0] }}{{ 2 * a }}{{ a ** 3 }}{{ '=' * a }}{{ [a] * 2 }}{% endwith %}",
            "248==[2, 2]",
        ),
        (
            "{# {% set x #}{% raw %}{% set x = {{ 1 }} %}{% endraw %}{{ '{% set x = 1 %}' }}{{ \"it's %} \\\" }}\" }}",
            "{% set x = {{ 1 }} %}{% set x = 1 %}it's %} \" }}",
        ),
        ("{% set x %}ab{% endset %}{{ x }}", "ab"),
        ("{% for m in messages %}{%- generation -%} {{ m }} {%- endgeneration %}\n{% endfor %}", "ab"),
        ("{{ strftime_now('%Y')|length }}{{ strftime_now is defined }}", "4True"),
        ("{{ messages | tojson }}{{ {'a': [1]} | tojson(indent=2) }}", "[\"a\", \"b\"]{\n  \"a\": [\n    1\n  ]\n}"),
        ("text without any tag {", "text without any tag {"),
        // As Jinja reads and writes them.
        ("{% for m in messages %}\r\n{{ m }}\r\n{% endfor %}\r\nx", "a\nb\nx"),
        ("{{ {'b': 1, 'a': 2} }}{% for k in {'b': 1, 'a': 2} %}{{ k }}{% endfor %}", "{'b': 1, 'a': 2}ba"),
        ("{{ {'b': 1, 'a': [2, 'ü']} | tojson(separators=(',', ':'), sort_keys=true) }}", "{\"a\":[2,\"ü\"],\"b\":1}"),
        (
            "{{ ['ü🙂', 1] | tojson(true) }}{{ [1, 2] | tojson(false, 1) }}",
            "[\"\\u00fc\\ud83d\\ude42\", 1][\n 1,\n 2\n]",
        ),
        ("{{ 'a' is sequence }}{{ {} is sequence }}{{ [1] is sequence }}{{ 1 is sequence }}", "TrueTrueTrueFalse"),
        (
            "{{ 'a.b.c'.rsplit('.', 1) }}{{ 'a.b.c'.partition('.')[2] }}{{ 'a.b.c'.rpartition('.')[0] }}",
            "['a.b', 'c']b.ca.b",
        ),
        ("{{ 'ab'.removeprefix('a') }}{{ 'ab'.removesuffix('b') }}{{ 'éb'.index('b') }}{{ '-7'.zfill(4) }}", "ba1-007"),
        (
            "{{ 'a'.ljust(3, '.') }}{{ 'a'.rjust(3) }}{{ 'ab'.center(5, '.') }}{{ 'a'.center(4, '.') }}{{ 'aB'.swapcase() }}",
            "a..  a..ab..a..Ab",
        ),
    ] {
        assert_eq!(render(source).as_deref(), Ok(want), "{source}");
    }
}

/// Each of these takes all memory, the stack or for ever if nobody looks.
#[test]
fn values_without_bound_are_refused() {
    let wide = |end: &str| {
        let steps = (0..12).map(|i| format!("{{% set a{} = [a{i}] * 10 %}}", i + 1)).collect::<String>();
        format!("{{% set a0 = 'x' %}}{steps}{end}")
    };
    let doubled = (0..40).fold("{% set a = [1] %}".to_owned(), |s, _| s + "{% set a = a + a %}");
    let nest = "{% set ns = namespace(x=[]) %}{% for i in range(90000) %}{% set ns.x = [ns.x] %}{% endfor %}";
    let grow = "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
    let itself = "{% set ns = namespace() %}{% set ns.x = ns %}";
    for source in [
        wide("{{ a12 }}"),
        wide("{{ a12 ~ '' }}"),
        wide("{{ a12 | string | length }}"),
        doubled.clone(),
        doubled + "{{ a | length }}",
        nest.to_owned(),
        format!("{nest}{{{{ ns.x }}}}"),
        grow.to_owned(),
        itself.to_owned(),
        "{% macro m(x, n) %}{% if n %}{{ m([x, x], n - 1) }}{% endif %}{{ x }}{% endmacro %}{{ m('a', 40) }}".to_owned(),
        "{% for a in [['x'] * 90] %}{% for b in [[a] * 90] %}{% for c in [[b] * 90] %}{{ c }}{% endfor %}{% endfor %}{% endfor %}".to_owned(),
        "{{ [[[['x'] * 99999] * 99999] * 99999] * 99999 }}".to_owned(),
        "{{ ([[[['x'] * 99999] * 99999] * 99999] * 99999) | string }}".to_owned(),
        "{{ 99999 * [99999 * [99999 * ['x']]] }}".to_owned(),
        "{% set x = ['x'] * 99 %}{% set y = 9999 * x %}".to_owned(),
        "{% with a = ['x'] * 99999 %}{{ a }}{% endwith %}".to_owned(),
        "{{ '{:>9999999999}'.format('a') }}".to_owned(),
        "{{ '{:>{}}'.format('a', 999999999) }}".to_owned(),
        "{% set s = '{0:9999}' * 20000 %}{{ s.format(1) | length }}".to_owned(),
        "{% set s = 'a' * 9000 %}{{ s.replace('', s) | length }}".to_owned(),
        "{% set s = 'a' * 9000000 %}{{ s.join([s, s, s]) | length }}".to_owned(),
        format!("{{{{ {}0{} }}}}", "messages[".repeat(140), "]".repeat(140)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{% elif 0 %}".repeat(5000)),
        format!("{}{}", "{% if 0 %}x{% else %}".repeat(20_000), "{% endif %}".repeat(20_000)),
        "{{ 1 }}".repeat(15_000) + &"{% if 1 %}{% endif %}".repeat(9000),
        "{% set w = '9999999999' %}{{ ('{:>' ~ w ~ '}').format('a') }}".to_owned(),
    ] {
        let error = render(&source).expect_err(&source);
        let bound = ["parts", "levels", "fuel", "wider", "stands behind", "bytes of a text", "statements"].iter().any(|w| error.contains(w));
        assert!(bound, "{source}: {error}");
    }
}
