//! Python's `strftime` for a time of day without a zone, as chat templates call it (`strftime_now`).

use crate::platform::LocalTime;

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// Days before this one in its year.
fn day_of_year(time: &LocalTime) -> u32 {
    let by = |years| time.year.is_multiple_of(years);
    let leap = by(4) && (!by(100) || by(400));
    let months = [31, 28 + u32::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    months[..time.month as usize - 1].iter().sum::<u32>() + time.day - 1
}

/// The time in this form, with English names.
///
/// # Errors
/// A directive that is unknown, by its letter.
pub(super) fn strftime(format: &str, time: &LocalTime) -> Result<String, String> {
    let mut out = String::new();
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        let directive = chars.next();
        // Systems differ in what leaves the zeros out.
        let bare = matches!(directive, Some('-' | '#'));
        let directive = if bare { chars.next() } else { directive };
        let day = DAYS[time.weekday as usize % 7];
        let month = MONTHS[(time.month as usize + 11) % 12];
        let number = |value: u32, width: usize| if bare { value.to_string() } else { format!("{value:0width$}") };
        let hour = (time.hour + 11) % 12 + 1;
        // The first Sunday or Monday begins the first week.
        let week = |first: u32| (day_of_year(time) + 7 - (time.weekday + 7 - first) % 7) / 7;
        let inner = |format| strftime(format, time);
        out += &match directive {
            Some('%') => "%".to_owned(),
            Some('a') => day[..3].to_owned(),
            Some('A') => day.to_owned(),
            Some('b' | 'h') => month[..3].to_owned(),
            Some('B') => month.to_owned(),
            Some('c') => inner("%a %b %e %H:%M:%S %Y")?,
            Some('d') => number(time.day, 2),
            Some('D' | 'x') => inner("%m/%d/%y")?,
            Some('e') => {
                if bare {
                    time.day.to_string()
                } else {
                    format!("{:2}", time.day)
                }
            }
            Some('F') => inner("%Y-%m-%d")?,
            Some('H') => number(time.hour, 2),
            Some('I') => number(hour, 2),
            Some('j') => number(day_of_year(time) + 1, 3),
            Some('m') => number(time.month, 2),
            Some('M') => number(time.minute, 2),
            Some('n') => "\n".to_owned(),
            Some('p') => if time.hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('R') => inner("%H:%M")?,
            Some('S') => number(time.second, 2),
            Some('t') => "\t".to_owned(),
            Some('T' | 'X') => inner("%H:%M:%S")?,
            Some('u') => if time.weekday == 0 { 7 } else { time.weekday }.to_string(),
            Some('U') => number(week(0), 2),
            Some('w') => time.weekday.to_string(),
            Some('W') => number(week(1), 2),
            Some('y') => number(time.year % 100, 2),
            Some('Y') => time.year.to_string(),
            // A time without a zone.
            Some('z' | 'Z') => String::new(),
            other => return Err(format!("strftime_now does not know %{}", other.map_or(String::new(), String::from))),
        };
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Python 3 gives them: `datetime(...).strftime("%a %A ...")`.
    #[test]
    fn times_are_written_as_python_writes_them() {
        let time =
            |year, month, day, hour, weekday| LocalTime { year, month, day, hour, minute: 5, second: 9, weekday };
        let all = "%a %A %b %B %d %e %m %y %Y %H %I %p %M %S %j %U %W %w %u %% %F %T %D %R %c%z";
        for (time, want) in [
            (
                time(2026, 11, 27, 17, 5),
                "Fri Friday Nov November 27 27 11 26 2026 17 05 PM 05 09 331 47 47 5 5 % 2026-11-27 17:05:09 11/27/26 17:05 Fri Nov 27 17:05:09 2026",
            ),
            (
                time(2024, 3, 3, 0, 0),
                "Sun Sunday Mar March 03  3 03 24 2024 00 12 AM 05 09 063 09 09 0 7 % 2024-03-03 00:05:09 03/03/24 00:05 Sun Mar  3 00:05:09 2024",
            ),
        ] {
            assert_eq!(strftime(all, &time).unwrap(), want);
        }
        assert_eq!(strftime("%-d %-m %-H %#I %-j é", &time(2024, 3, 3, 0, 0)).unwrap(), "3 3 0 12 63 é");
        assert_eq!(strftime("%Q", &time(2024, 3, 3, 0, 0)).unwrap_err(), "strftime_now does not know %Q");
    }
}
