//! Run directories: `target/burnin/<scenario>/<time>-<seed>/`, with `latest` beside them.

use crate::output::Stop;
use crate::work_dir::LOG;
use burnin_report::RunReport;
use burnin_scenario::Plan;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// The directory of one run.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes a new one below `report` for this plan, with its `resolved.toml`.
    pub fn create(report: &Path, plan: &Plan) -> Result<RunDir, Stop> {
        let path = fresh(&report.join(&plan.scenario), &format!("{}-{}", timestamp(), plan.seed))?;
        let run_dir = RunDir { path };
        write(&run_dir.path.join("resolved.toml"), &plan.to_toml())?;
        Ok(run_dir)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the nodes' logs go.
    pub fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Writes the result and lets `latest` point here.
    pub fn finish(&self, report: &RunReport) -> Result<(), Stop> {
        write(&self.path.join("result.json"), &report.to_json())?;
        point_latest(&self.path)
    }
}

/// Makes the directory `name` in `parent`, or `name-2`, ... when it exists.
pub fn fresh(parent: &Path, name: &str) -> Result<PathBuf, Stop> {
    let failed = |path: &Path, error| {
        Stop::environment(format!("cannot make the directory {}: {error}", path.display()))
    };
    std::fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
    for number in 1.. {
        let path = if number == 1 { parent.join(name) } else { parent.join(format!("{name}-{number}")) };
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&path, error)),
        }
    }
    unreachable!("there is always another number")
}

/// Lets `latest` beside `path` point to it. Two at once are fine: one of them wins.
pub fn point_latest(path: &Path) -> Result<(), Stop> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let temporary = parent.join(format!(".latest-{}", std::process::id()));
    let made = std::os::unix::fs::symlink(name, &temporary)
        .and_then(|()| std::fs::rename(&temporary, parent.join("latest")));
    made.map_err(|error| Stop::environment(format!("cannot make {}/latest: {error}", parent.display())))
}

/// Writes a file.
pub fn write(path: &Path, text: &str) -> Result<(), Stop> {
    std::fs::write(path, text)
        .map_err(|error| Stop::environment(format!("cannot write {}: {error}", path.display())))
}

/// UTC as `20261121T090307Z`.
pub fn timestamp() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format_utc(now)
}

/// Seconds since 1970 as a date (the algorithm of Howard Hinnant's `civil_from_days`).
fn format_utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(format_utc(0), "19700101T000000Z");
        assert_eq!(format_utc(951_782_400), "20000229T000000Z");
        assert_eq!(format_utc(1_795_251_787), "20261121T090307Z");
    }

    #[test]
    fn directories_do_not_collide_and_latest_points_to_the_last() {
        let folder = tempfile::tempdir().unwrap();
        let one = fresh(folder.path(), "run").unwrap();
        let two = fresh(folder.path(), "run").unwrap();
        assert_ne!(one, two);
        point_latest(&one).unwrap();
        point_latest(&two).unwrap();
        assert_eq!(std::fs::read_link(folder.path().join("latest")).unwrap(), Path::new("run-2"));
    }
}
