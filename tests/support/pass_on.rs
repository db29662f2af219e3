//! The methods of a store around another one that only pass a call on.

/// Writes these methods of `StateStore` or `HistoryStore` for a type whose field `inner` is the
/// store that the calls are passed on to.
macro_rules! pass_on {
    (load) => {
        fn load(&self, key: &str) -> Result<Option<Vec<u8>>, ::tower_breaker::store::StoreError> {
            self.inner.load(key)
        }
    };
    (load_page) => {
        fn load_page(
            &self,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<(String, Vec<u8>)>, ::tower_breaker::store::StoreError> {
            self.inner.load_page(after, limit)
        }
    };
    (save) => {
        fn save(
            &self,
            entry: &::tower_breaker::store::SaveEntry,
        ) -> Result<(), ::tower_breaker::store::StoreError> {
            self.inner.save(entry)
        }
    };
    (delete) => {
        fn delete(&self, key: &str) -> Result<(), ::tower_breaker::store::StoreError> {
            self.inner.delete(key)
        }
    };
    (id) => {
        fn id(&self) -> usize {
            self.inner.id()
        }
    };
    (append) => {
        fn append(
            &self,
            key: &str,
            records: &[::tower_breaker::store::HistoryRecord],
        ) -> Result<(), ::tower_breaker::store::StoreError> {
            self.inner.append(key, records)
        }
    };
    (keys) => {
        fn keys(
            &self,
            after: Option<&str>,
            limit: usize,
        ) -> Result<Vec<String>, ::tower_breaker::store::StoreError> {
            self.inner.keys(after, limit)
        }
    };
    (trim) => {
        fn trim(
            &self,
            key: &str,
            older_than: u64,
            keep: usize,
        ) -> Result<(), ::tower_breaker::store::StoreError> {
            self.inner.trim(key, older_than, keep)
        }
    };
    ($($method:ident),+ $(,)?) => {
        $(pass_on!($method);)+
    };
}

pub(crate) use pass_on;
