use super::*;

/// Like those of reqwest: neither type is from the crate `http`, and the request is not `Clone`.
struct Ask {
    body: Option<&'static str>,
}

impl Ask {
    fn try_clone(&self) -> Option<Self> {
        self.body.map(|body| Self { body: Some(body) })
    }
}

struct Reply {
    status: u16,
}

#[tokio::test(start_paused = true)]
async fn requests_are_cloned_with_the_given_function() {
    let policy = RetryPolicy::new(|result: &Result<Reply, Error<io::Error>>| match result {
        Ok(reply) if reply.status == 503 => Outcome::failure(),
        Err(error) if retry::is_transient(error) => Outcome::failure(),
        _ => Outcome::Success,
    })
    .max_attempts(4)
    .clone_request_with(Ask::try_clone);
    let unavailable = || Ok(Reply { status: 503 });
    let ask = |body| Ask { body };
    assert_eq!(attempts(policy.clone(), ask(Some("again")), unavailable).await.0, 4);
    assert_eq!(attempts(policy.clone(), ask(None), unavailable).await.0, 1);
    let accepted = || Ok(Reply { status: 200 });
    assert_eq!(attempts(policy, ask(Some("once")), accepted).await.0, 1);
}

/// Does not implement `std::error::Error`.
#[derive(Debug)]
struct Odd(ErrorKind);

struct OddKind;

impl AsCause<OddKind> for Error<Odd> {
    fn as_cause(&self) -> Option<&(dyn StdError + 'static)> {
        self.rejected().map(|rejected| rejected as _)
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_any_type_can_expose_rejections() {
    let policy = || RetryPolicy::new(ErrorsAsFailures);
    let rejection = || Err::<(), Error<Odd>>(Error::Rejected(rejected()));
    assert_eq!(attempts(policy(), (), rejection).await.0, 1);
    let other = || Err::<(), Error<Odd>>(Error::Inner(Odd(ErrorKind::Other)));
    let (calls, result) = attempts(policy(), (), other).await;
    assert_eq!(calls, 3);
    assert_eq!(result.unwrap_err().into_inner().unwrap().0, ErrorKind::Other);
}

#[tokio::test(start_paused = true)]
async fn requests_and_responses_need_not_be_send_or_static() {
    let (words, spoken) = (String::from("hello"), std::cell::Cell::new(0));
    let policy = RetryPolicy::new(ErrorsAsFailures);
    let answer = || {
        spoken.set(spoken.get() + 1);
        if spoken.get() < 3 { Err(io::Error::other("down")) } else { Ok(&words) }
    };
    let (_, result) = attempts(policy, std::rc::Rc::new(&words), answer).await;
    assert_eq!(result.unwrap(), "hello");
}

#[test]
fn policies_are_send_sync_and_unpin_for_all_request_types() {
    fn all<T: Send + Sync + Unpin>() {}
    type NotSend = std::rc::Rc<std::marker::PhantomPinned>;
    all::<RetryPolicy<Network>>();
    all::<RetryPolicy<Network<NotSend>>>();
    all::<RetryPolicy<Classified<ErrorsAsFailures, NotSend, NotSend>>>();
    all::<RejectAsBoxError>();
}
