//! Disk: names. Opening, renaming, removing, listing, locking.

use crate::Env;
use burnin_runtime::{DirEntry, Disk, File, OpenOptions, Runtime};
use bytes::Bytes;
use std::io::{self, ErrorKind};
use std::path::Path;

/// A file with this content.
async fn put<D: Disk>(disk: &D, path: &Path, content: &'static [u8]) -> D::File {
    let file = disk.open(path, OpenOptions::REPLACE).await.expect("the file can be created");
    file.write_at(0, vec![Bytes::from_static(content)]).await.expect("the file can be written");
    file
}

/// The content of a file.
async fn get<D: Disk>(disk: &D, path: &Path) -> Bytes {
    let file = disk.open(path, OpenOptions::READ).await.expect("the file can be opened");
    file.read_at(0, 1 << 20).await.expect("the file can be read")
}

/// The kind of the error, or `None` when there was none.
fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

pub async fn missing_files_are_not_found<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("nothing");
    for options in [OpenOptions::READ, OpenOptions::WRITE] {
        assert_eq!(kind(disk.open(&path, options).await), Some(ErrorKind::NotFound), "{options:?}");
    }
    for options in [OpenOptions::CREATE, OpenOptions::CREATE_NEW, OpenOptions::REPLACE] {
        let path = dir.join("no/such/directory/file");
        assert_eq!(kind(disk.open(&path, options).await), Some(ErrorKind::NotFound), "{options:?}");
    }
    assert_eq!(disk.list(&dir).await.expect("it can be listed"), [], "a failed open left something");
}

pub async fn create_new_refuses_an_existing_file<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("file");
    let file = disk.open(&path, OpenOptions::CREATE_NEW).await.expect("it is new");
    assert_eq!(file.len().await.expect("it has a size"), 0);
    file.write_at(0, vec![Bytes::from_static(b"kept")]).await.expect("it can be written");
    assert_eq!(kind(disk.open(&path, OpenOptions::CREATE_NEW).await), Some(ErrorKind::AlreadyExists));
    assert_eq!(get(disk, &path).await, &b"kept"[..]);
}

pub async fn create_keeps_and_replace_drops_content<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("file");
    put(disk, &path, b"content").await;
    disk.open(&path, OpenOptions::CREATE).await.expect("it exists");
    assert_eq!(get(disk, &path).await, &b"content"[..]);
    disk.open(&path, OpenOptions::WRITE).await.expect("it exists");
    assert_eq!(get(disk, &path).await, &b"content"[..]);
    disk.open(&path, OpenOptions::REPLACE).await.expect("it exists");
    assert_eq!(get(disk, &path).await, &b""[..]);
}

pub async fn rename_replaces<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let (old, new) = (dir.join("checkpoint"), dir.join("checkpoint.tmp"));
    put(disk, &old, b"old and longer").await;
    put(disk, &new, b"new").await;
    let reader = disk.open(&old, OpenOptions::READ).await.expect("it exists");
    disk.rename(&new, &old).await.expect("rename replaces");
    assert_eq!(get(disk, &old).await, &b"new"[..]);
    assert_eq!(kind(disk.open(&new, OpenOptions::READ).await), Some(ErrorKind::NotFound));
    let kept = reader.read_at(0, 100).await.expect("an open file stays readable");
    assert_eq!(kept, &b"old and longer"[..]);
}

pub async fn rename_moves_directories<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let (from, to) = (dir.join("topic-0"), dir.join("topic-0.delete"));
    disk.create_dir_all(&from.join("inner")).await.expect("created");
    put(disk, &from.join("inner/file"), b"content").await;
    disk.rename(&from, &to).await.expect("a directory can be renamed");
    assert_eq!(get(disk, &to.join("inner/file")).await, &b"content"[..]);
    assert_eq!(kind(disk.list(&from).await), Some(ErrorKind::NotFound));
}

pub async fn rename_of_nothing_is_not_found<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let renamed = disk.rename(&dir.join("nothing"), &dir.join("something")).await;
    assert_eq!(kind(renamed), Some(ErrorKind::NotFound));
    put(disk, &dir.join("file"), b"content").await;
    let renamed = disk.rename(&dir.join("file"), &dir.join("no/such/directory")).await;
    assert_eq!(kind(renamed), Some(ErrorKind::NotFound));
    assert_eq!(get(disk, &dir.join("file")).await, &b"content"[..]);
}

pub async fn open_file_follows_its_rename<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let file = put(disk, &dir.join("before"), b"12345").await;
    disk.rename(&dir.join("before"), &dir.join("after")).await.expect("renamed");
    file.write_at(5, vec![Bytes::from_static(b"67")]).await.expect("the handle still writes");
    file.sync_data().await.expect("the handle still syncs");
    assert_eq!(get(disk, &dir.join("after")).await, &b"1234567"[..]);
}

pub async fn removed_file_is_gone<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("file");
    put(disk, &path, b"content").await;
    disk.remove_file(&path).await.expect("it can be removed");
    assert_eq!(kind(disk.open(&path, OpenOptions::READ).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove_file(&path).await), Some(ErrorKind::NotFound));
    assert!(disk.remove_file(&dir).await.is_err(), "remove_file removed a directory");
    let again = disk.open(&path, OpenOptions::CREATE_NEW).await.expect("the name is free");
    assert_eq!(again.len().await.expect("it has a size"), 0, "the old content came back");
}

pub async fn open_file_outlives_its_removal<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("file");
    let file = put(disk, &path, b"content").await;
    disk.remove_file(&path).await.expect("it can be removed");
    put(disk, &path, b"another").await;
    assert_eq!(file.read_at(0, 100).await.expect("the handle still reads"), &b"content"[..]);
    file.write_at(0, vec![Bytes::from_static(b"CON")]).await.expect("the handle still writes");
    assert_eq!(get(disk, &path).await, &b"another"[..], "the removed file wrote into its successor");
}

pub async fn remove_dir_all_removes_the_tree<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let tree = dir.join("tree");
    disk.create_dir_all(&tree.join("a/b")).await.expect("created");
    put(disk, &tree.join("a/b/file"), b"content").await;
    put(disk, &tree.join("file"), b"content").await;
    put(disk, &dir.join("tree2"), b"neighbour").await;
    disk.remove_dir_all(&tree).await.expect("it can be removed");
    assert_eq!(kind(disk.list(&tree).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove_dir_all(&tree).await), Some(ErrorKind::NotFound));
    assert_eq!(get(disk, &dir.join("tree2")).await, &b"neighbour"[..]);
}

pub async fn create_dir_all_makes_parents_and_accepts_existing<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join("a/b/c");
    disk.create_dir_all(&path).await.expect("parents are made");
    put(disk, &path.join("file"), b"content").await;
    disk.create_dir_all(&path).await.expect("an existing directory is fine");
    assert_eq!(get(disk, &path.join("file")).await, &b"content"[..]);
    assert!(disk.create_dir_all(&path.join("file/below")).await.is_err(), "a directory below a file");
}

pub async fn list_is_sorted_and_complete<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    assert_eq!(disk.list(&dir).await.expect("it can be listed"), []);
    put(disk, &dir.join("b.log"), b"12345").await;
    put(disk, &dir.join("a.log"), b"").await;
    put(disk, &dir.join("00000000000000000010.log"), b"1").await;
    disk.create_dir_all(&dir.join("B/inner")).await.expect("created");
    put(disk, &dir.join("B/inner/deep"), b"not listed").await;
    let entry = |name: &str, is_dir, len| DirEntry { name: name.to_owned(), is_dir, len };
    assert_eq!(
        disk.list(&dir).await.expect("it can be listed"),
        [
            entry("00000000000000000010.log", false, 1),
            entry("B", true, 0),
            entry("a.log", false, 0),
            entry("b.log", false, 5),
        ]
    );
}

pub async fn list_of_nothing_is_not_found<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    assert_eq!(kind(disk.list(&dir.join("nothing")).await), Some(ErrorKind::NotFound));
    put(disk, &dir.join("file"), b"content").await;
    assert!(disk.list(&dir.join("file")).await.is_err(), "a file was listed as a directory");
}

pub async fn sync_dir_accepts_directories_only<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    put(disk, &dir.join("file"), b"content").await;
    disk.sync_dir(&dir).await.expect("a directory can be synced");
    assert_eq!(kind(disk.sync_dir(&dir.join("nothing")).await), Some(ErrorKind::NotFound));
}

pub async fn relative_paths_have_one_root<R: Runtime>(env: Env<R>) {
    let (disk, _) = env.disk().await;
    let dir = Path::new("conformance-relative");
    disk.create_dir_all(dir).await.expect("created");
    put(disk, &dir.join("file"), b"content").await;
    disk.rename(&dir.join("file"), &dir.join("renamed")).await.expect("renamed");
    assert_eq!(get(disk, &dir.join("renamed")).await, &b"content"[..]);
    disk.sync_dir(dir).await.expect("synced");
    let root = disk.list(Path::new("")).await.expect("the root can be listed");
    assert!(root.iter().any(|entry| entry.name == "conformance-relative" && entry.is_dir), "{root:?}");
    disk.remove_dir_all(dir).await.expect("removed");
}

pub async fn lock_is_exclusive_until_dropped<R: Runtime>(env: Env<R>) {
    let (disk, dir) = env.disk().await;
    let path = dir.join(".lock");
    let held = disk.lock(&path).await.expect("nobody holds it");
    assert_eq!(kind(disk.lock(&path).await), Some(ErrorKind::WouldBlock));
    let another = disk.lock(&dir.join(".other")).await.expect("another lock is free");
    drop(held);
    let again = disk.lock(&path).await.expect("it was released");
    assert_eq!(kind(disk.lock(&path).await), Some(ErrorKind::WouldBlock));
    drop((another, again));
    let names: Vec<_> = disk.list(&dir).await.expect("listed").into_iter().map(|e| e.name).collect();
    assert_eq!(names, [".lock", ".other"], "a lock is a file that stays");
}
