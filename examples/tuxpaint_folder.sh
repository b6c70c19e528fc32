#!/bin/sh
# Makes a folder of captioned pictures that Hive can be trained on, from the stamps of Tux Paint.
#
#     sh examples/tuxpaint_folder.sh OUT [tuxpaint-stamps-default_VERSION_all.deb]
#
# Writes OUT/images/*.png and OUT/conversations.jsonl (LLaVA conversation data: one picture, one question, its caption).
# Without a .deb the Debian package tuxpaint-stamps-default (about 160 MB) is fetched with apt-get; nothing is installed.
# Needs sh, find, awk, sed, and dpkg-deb or (ar and tar).
#
# The stamps are under the GNU General Public License, version 2 or later (see OUT/COPYRIGHT): this project never ships
# them, nor anything trained on them. Whoever runs this script makes the copy for themselves.
set -eu

fail() {
    echo "tuxpaint_folder.sh: $1" >&2
    exit 1
}

[ $# -eq 1 ] || [ $# -eq 2 ] || fail "wrong arguments: give a folder to write, and a .deb if you have one already"
out=$1
[ ! -e "$out/conversations.jsonl" ] || fail "$out/conversations.jsonl is there already: remove it or give another folder"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

if [ $# -eq 2 ]; then
    deb=$2
    [ -f "$deb" ] || fail "there is no file $deb: give the path of the downloaded package, or leave it out"
else
    command -v apt-get >/dev/null || fail "apt-get is missing: download Debian package tuxpaint-stamps-default and give the .deb as second argument"
    (cd "$work" && apt-get download tuxpaint-stamps-default >&2) || fail "the download failed: try 'apt-get update', or give a .deb as second argument"
    deb=$(find "$work" -name '*.deb')
fi

if command -v dpkg-deb >/dev/null; then
    dpkg-deb -x "$deb" "$work/unpacked" || fail "$deb cannot be unpacked: download it again"
else
    mkdir "$work/unpacked"
    data=$(ar t "$deb" | grep '^data\.tar') || fail "$deb is no Debian package: download it again"
    ar p "$deb" "$data" >"$work/$data"
    tar -xf "$work/$data" -C "$work/unpacked" || fail "$data cannot be unpacked: install xz and zstd"
fi

stamps=$work/unpacked/usr/share/tuxpaint/stamps
[ -d "$stamps" ] || fail "$deb holds no stamps: it must be the package tuxpaint-stamps-default"
mkdir -p "$out/images"
cp "$work/unpacked/usr/share/doc/tuxpaint-stamps-default/copyright" "$out/COPYRIGHT"

# letters, digits, coins, chessmen and drawn shapes say little in words; mirrored variants repeat their original
(cd "$stamps" && find . -name '*.png' ! -path './symbols/*' ! -iname '*mirror*' ! -iname '*flip*' | LC_ALL=C sort) >"$work/list"
while IFS= read -r png; do
    text=${png%.png}.txt
    [ -f "$stamps/$text" ] || continue
    # the first line is the English caption; the others are translations
    caption=$(sed -n '1{s/\r$//;s/[[:cntrl:]]/ /g;s/^ *//;s/ *$//;s/\\/\\\\/g;s/"/\\"/g;p;}' "$stamps/$text")
    [ -n "$caption" ] || continue
    name=$(printf '%s' "${png#./}" | sed 's/[^A-Za-z0-9._-]/_/g')
    cp "$stamps/$png" "$out/images/$name"
    printf '{"id": "%s", "image": "images/%s", "conversations": [{"from": "human", "value": "<image>\\nWhat is it?"}, {"from": "gpt", "value": "%s"}]}\n' \
        "${name%.png}" "$name" "$caption"
done <"$work/list" >"$out/conversations.jsonl.part"
[ -s "$out/conversations.jsonl.part" ] || fail "no captioned pictures were found in $deb: another version of the package may lie differently"
mv "$out/conversations.jsonl.part" "$out/conversations.jsonl"
echo "$(awk 'END { print NR }' "$out/conversations.jsonl") pictures with captions are in $out"
