#!/bin/sh
# The window, run as people run it: on a display of its own (Xvfb), driven by real keys, with a screenshot of every state.
#   tests/window.sh PROGRAM FOLDER      PROGRAM is the hive binary with its window; screenshots go to FOLDER
# Fails where the window does not come, stays blank, or does not react. Needs Xvfb, xdotool and ImageMagick.

set -u
program=$1
folder=$2
mkdir -p "$folder"
export DISPLAY=:87 HOME="$folder/home"
rm -rf "$HOME"
mkdir -p "$HOME"
failed=0

# By itself it starts anew whenever its last window closes, and then may miss the next.
Xvfb $DISPLAY -screen 0 1280x800x24 -noreset >/dev/null 2>&1 &
server=$!
trap 'kill $server 2>/dev/null' EXIT
sleep 2

fail() {
    printf 'FAIL %s\n' "$*"
    failed=$((failed + 1))
}

shot() { import -window root "$folder/$1.png"; }
colours() { identify -format %k "$folder/$1.png"; }
# Share of pixels that differ between two screenshots, in thousandths.
changed() { compare -metric AE -fuzz 5% "$folder/$1.png" "$folder/$2.png" null: 2>&1 | awk '{ printf "%d", $1 / 1024 }'; }

open_window() {
    "$program" app "$1" >"$folder/$2.log" 2>&1 &
    window=$!
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        xdotool search --onlyvisible --name '^hive$' >/dev/null 2>&1 && break
        sleep 1
    done
    sleep "$3"
    kill -0 $window 2>/dev/null || fail "$2: the window is gone: $(cat "$folder/$2.log")"
    shot "$2"
    [ "$(colours "$2")" -gt 200 ] || fail "$2: the screenshot has $(colours "$2") colours"
    [ -s "$folder/$2.log" ] && fail "$2: it printed $(cat "$folder/$2.log")"
    return 0
}

close_window() {
    kill $window 2>/dev/null
    wait $window 2>/dev/null
    printf 'ok   %s\n' "$1"
}

# There is no window manager here: the window gets the keyboard by hand.
press() {
    xdotool windowfocus "$(xdotool search --onlyvisible --name '^hive$' | head -n 1)"
    sleep 1
    xdotool key "$1"
}

# The long preset: its first stage is still under way when it is paused.
open_window 'preset=pictures-long' first-run 12
press Escape
sleep 2
shot tour-closed
[ "$(changed first-run tour-closed)" -gt 20 ] || fail 'Escape does not close the tour'
press space
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    sleep 2
    shot training
    [ "$(changed tour-closed training)" -gt 20 ] && break
done
[ "$(changed tour-closed training)" -gt 20 ] || fail 'the space bar starts no training'
sleep 8
shot training
press space
# A step under way is finished first, and drawn late on a busy machine.
for _ in 1 2 3 4 5 6; do
    sleep 4
    shot paused
    sleep 4
    shot paused-later
    [ "$(changed paused paused-later)" -lt 5 ] && break
done
[ "$(changed paused paused-later)" -lt 5 ] || fail 'the space bar does not pause'
close_window 'first run, tour, training by keys'

open_window 'preset=pictures&trained=1&example=4&hide=tour&question=where%20is%20the%20dog%20%3F' trained 15
close_window 'the trained model'

open_window 'hide=tour,recipe,presets,seed,control&lesson=stages' lesson 8
close_window 'a lesson'

[ $failed = 0 ]
