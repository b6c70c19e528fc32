"""Writes chat.json: what transformers makes of conversations, by templates that use what published templates use.

Run by hand with transformers 5.9; never by the tests.
"""

import json
from pathlib import Path

from transformers.utils.chat_template_utils import render_jinja_template

SPECIALS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}

TEMPLATES = {
    "blocks on lines of their own": """{% for m in messages %}
    {% if m.role == 'user' %}
[{{ m.content }}]
    {% else %}
({{ m.content }})
    {% endif %}
{% endfor %}
{% if add_generation_prompt %}
A:
{% endif %}
""",
    "dashes": """{{- bos_token -}}
{%- for m in messages -%}
    {{- '\\n' + m['role'] + ': ' + m['content'] -}}
{%- endfor -%}
{{- eos_token }}""",
    "methods of strings": """{% for m in messages %}{{ m['content'].strip().upper() }}|{{ m['content'].split('e')[-1] }}|{{
 m['content'].startswith('H') }}|{{ m['content'].replace('\\n', '/') }}|{{ m['content'].lstrip() | length }}|{{ m.content | trim }}
{% endfor %}""",
    "namespaces, slices and loop variables": """{%- set ns = namespace(system='none', count=0) -%}
{%- if messages[0].role == 'system' -%}
    {%- set ns.system = messages[0].content -%}
    {%- set rest = messages[1:] -%}
{%- else -%}
    {%- set rest = messages -%}
{%- endif -%}
{%- for m in rest[::-1] -%}
    {%- set ns.count = ns.count + 1 -%}
    {{ loop.index0 }}/{{ loop.length }}{{ ',' if not loop.last else '.' }}{{ m.role }};
{%- endfor -%}
{{ ns.system }} {{ ns.count }}""",
    "json": """{% for m in messages %}{{ m | tojson }} {{ m.content | tojson }} {{ [1, 2.5, none, true] | tojson }}
{{ {'a': [], 'b': {'c': 1}} | tojson(indent=4) }}
{% endfor %}""",
    "tools that are not there": """{%- if tools is not none %}tools{% else %}no tools{% endif %}
{%- if tools %} {{ tools }}{% endif %}
{%- if documents is not none %} documents{% endif %}
{%- if strange is defined %} strange{% endif %}{{ messages | length }}""",
    "macros": """{%- macro say(role, text='nothing') -%}<{{ role }}>{{ text }}{%- endmacro -%}
{{ say('a') }}{% for m in messages %}{{ say(m.role, m.content) }}{% endfor %}""",
    "break and continue": """{% for m in messages %}{% if m.role == 'assistant' %}{% continue %}{% endif %}{{ m.content }}{%
 if loop.index == 2 %}{% break %}{% endif %}{% endfor %}""",
    "tests of types": """{% for m in messages %}{{ m.content is string }} {{ m is mapping }} {{ m.content is iterable }} {{
 'name' in m }} {{ m.name is defined }} {{ m.get('name', 'nobody') }}{% for k, v in m.items() %} {{ k }}={{ v }}{% endfor %}
{% endfor %}""",
}

TALKS = [
    [{"role": "user", "content": "Hello there"}],
    [{"role": "system", "content": "Be <brief> & 'kind'"}, {"role": "user", "content": "  Hé \n <image>\nwhat \"is\" it? 🙂 \\u003c "}],
    [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "Two.\n"},
        {"role": "user", "content": "Three?"},
    ],
]

cases = []
for name, template in TEMPLATES.items():
    for talk in TALKS:
        for answer in (False, True):
            rendered, _ = render_jinja_template(
                [talk], chat_template=template, add_generation_prompt=answer, **SPECIALS
            )
            cases.append({"name": name, "template": template, "messages": talk, "answer": answer, "text": rendered[0]})
text = json.dumps({"specials": SPECIALS, "cases": cases}, ensure_ascii=False, indent=1)
(Path(__file__).parent / "chat.json").write_text(text + "\n", encoding="utf-8")
