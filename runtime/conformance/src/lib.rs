//! One suite that every filling of the seam must pass: what the traits of `burnin-runtime` promise, asked
//! of a real instance.
//!
//! A filling wires it up once, and gets one `#[test]` per check:
//!
//! ```ignore
//! fn run(check: Check<MyRuntime>) {
//!     // build a world, then run `check.run(Env { .. })` in it to the end
//! }
//! burnin_conformance::tests!(MyRuntime, run);
//! ```
//!
//! A check panics when a promise is broken. Checks never assert that something is fast: only the suite's hang
//! detector has an upper bound, of two minutes on the runtime's own clock.

mod clock;
mod disk;
mod entropy;
mod files;
mod net;
mod streams;
mod tasks;

use burnin_runtime::{Disk, Runtime, timeout};
use std::fmt;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

/// A check while it runs.
pub type CheckFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where a check happens.
#[derive(Clone, Debug)]
pub struct Env<R> {
    /// Where the check listens and keeps its files.
    pub runtime: R,
    /// Where it connects from: another node of the simulation, or the same runtime again.
    pub peer: R,
    /// The address that `runtime` listens on.
    pub ip: IpAddr,
    /// A directory on `runtime`'s disk. It need not exist; nothing else may use it.
    pub dir: PathBuf,
}

impl<R: Runtime> Env<R> {
    /// The address with port 0.
    fn any_port(&self) -> SocketAddr {
        SocketAddr::new(self.ip, 0)
    }

    /// The disk, and the directory, which exists now.
    async fn disk(&self) -> (&R::Disk, PathBuf) {
        let disk = self.runtime.disk();
        disk.create_dir_all(&self.dir).await.expect("the check's directory can be created");
        (disk, self.dir.clone())
    }

    /// The output of `future`, which must come at some time.
    async fn soon<F: Future>(&self, what: &str, future: F) -> F::Output {
        const HANG: Duration = Duration::from_secs(120);
        match timeout(&self.runtime, HANG, future).await {
            Some(output) => output,
            None => panic!("{what}: still waiting after {HANG:?}"),
        }
    }
}

/// One promise, and how to ask for it.
#[derive(Clone, Copy)]
pub struct Check<R> {
    /// As in `net::echo`.
    pub name: &'static str,
    /// Whether a spawned task panics on purpose. A simulation must end its run with that panic instead of
    /// passing.
    pub panics: bool,
    run: fn(Env<R>) -> CheckFuture,
}

impl<R> Check<R> {
    /// Runs the check; it panics when a promise is broken.
    pub fn run(&self, env: Env<R>) -> CheckFuture {
        (self.run)(env)
    }
}

impl<R> fmt::Debug for Check<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// Runs every check that does not panic on purpose, one after the other, each in its own directory below
/// `env.dir`. Returns how many there were.
pub async fn run_all<R: Runtime>(env: Env<R>) -> usize {
    let checks: Vec<_> = checks::<R>().into_iter().filter(|check| !check.panics).collect();
    for (number, check) in checks.iter().enumerate() {
        check.run(Env { dir: env.dir.join(number.to_string()), ..env.clone() }).await;
    }
    checks.len()
}

/// The check of this name. Panics when there is none.
pub fn check<R: Runtime>(name: &str) -> Check<R> {
    checks().into_iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check `{name}`"))
}

/// Makes [`checks`] and the `tests!` macro from one list. `$dollar` is a dollar sign, for the inner macro.
macro_rules! suite {
    ($dollar:tt $(mod $module:ident { $($name:ident)* } $(panics { $($panics:ident)* })?)*) => {
        /// Every check, in a fixed order.
        pub fn checks<R: Runtime>() -> Vec<Check<R>> {
            vec![
                $($(Check {
                    name: concat!(stringify!($module), "::", stringify!($name)),
                    panics: false,
                    run: |env| Box::pin($module::$name(env)),
                },)*
                $($(Check {
                    name: concat!(stringify!($module), "::", stringify!($panics)),
                    panics: true,
                    run: |env| Box::pin($module::$panics(env)),
                },)*)?)*
            ]
        }

        /// One `#[test]` per check: `tests!(MyRuntime, run)` with `fn run(check: Check<MyRuntime>)`.
        #[macro_export]
        macro_rules! tests {
            ($dollar runtime:ty, $dollar run:path) => {
                $(mod $module {
                    use super::*;
                    $(#[test]
                    fn $name() {
                        let name = concat!(stringify!($module), "::", stringify!($name));
                        $dollar run($crate::check::<$dollar runtime>(name));
                    })*
                    $($(#[test]
                    fn $panics() {
                        let name = concat!(stringify!($module), "::", stringify!($panics));
                        $dollar run($crate::check::<$dollar runtime>(name));
                    })*)?
                })*
            };
        }
    };
}

suite! { $
    mod clock {
        now_never_goes_back
        sleep_never_ends_early
        sleep_until_the_past_ends
        sleep_until_the_far_future_does_not_end
        wall_clock_moves
        timeout_gives_the_output
        timeout_gives_none_when_it_passes
        timeout_prefers_a_ready_output
        timeout_drops_what_it_gave_up
    }
    mod tasks {
        output_reaches_the_handle
        dropping_the_handle_aborts
        abort_drops_the_future_and_is_reported
        abort_of_a_task_that_has_ended_keeps_its_output
        detached_task_runs_on
        is_finished_tells_the_end
        spawned_tasks_make_progress_together
        busy_task_does_not_starve_others
        tasks_spawn_tasks
        offload_gives_the_output
    } panics {
        panic_reaches_the_handle
        panic_drops_the_future
    }
    mod net {
        echo
        port_zero_picks_a_free_port
        second_listener_is_refused
        dropped_listener_frees_its_port
        connect_without_a_listener_is_refused
        addresses_agree_on_both_sides
        connect_completes_before_accept
        accept_survives_a_dropped_call
        many_connections_at_once
        ip_literals_resolve_to_themselves
        unknown_names_do_not_resolve
    }
    mod streams {
        drop_sends_everything_and_then_the_end
        end_of_stream_is_repeated
        shutdown_ends_one_direction_only
        dropped_write_half_ends_one_direction_only
        reset_on_drop_is_a_reset
        reset_on_drop_survives_split
        reset_on_drop_can_be_taken_back
        write_to_a_gone_peer_fails
        unread_bytes_make_the_writer_wait
        slow_reader_gets_every_byte
        stalled_connection_does_not_stall_another
        read_waits_for_bytes
        dropped_read_loses_nothing
        flushed_bytes_arrive_without_more
        both_directions_at_once
        vectored_writes_keep_their_order
    }
    mod disk {
        missing_files_are_not_found
        create_new_refuses_an_existing_file
        create_keeps_and_replace_drops_content
        rename_replaces
        rename_moves_directories
        rename_of_nothing_is_not_found
        open_file_follows_its_rename
        removed_file_is_gone
        open_file_outlives_its_removal
        remove_dir_all_removes_the_tree
        create_dir_all_makes_parents_and_accepts_existing
        list_is_sorted_and_complete
        list_of_nothing_is_not_found
        sync_dir_accepts_directories_only
        relative_paths_have_one_root
        lock_is_exclusive_until_dropped
    }
    mod files {
        several_buffers_are_written_in_order
        thousands_of_buffers_are_written
        large_writes_and_reads_are_whole
        overwrite_changes_its_range_only
        holes_read_as_zeros
        reads_are_short_at_the_end_only
        cached_read_agrees_or_abstains
        set_len_cuts_and_extends
        len_follows_writes
        read_only_file_refuses_writes
        handles_share_the_file
        synced_content_is_there_after_reopening
        impossible_offsets_are_errors
        concurrent_writes_all_arrive
        dropped_operation_leaves_the_file_usable
    }
    mod entropy {
        labels_give_independent_streams
        one_label_twice_gives_two_streams
        draws_stay_in_their_range
    }
}
