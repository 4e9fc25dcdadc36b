import Testing

@testable import Wire

@Suite("Back-off")
struct BackoffTests {
    @Test("waits double from 50 ms to 2 s, each shortened by at most half")
    func doubled() {
        var backoff = Backoff()
        #expect(backoff.whole == .zero)
        let waits = (0..<8).map { _ in
            _ = backoff.failed(random: 0)
            return backoff.whole
        }
        #expect(waits == [50, 100, 200, 400, 800, 1600, 2000, 2000].map { .milliseconds($0) })
        backoff.succeeded()
        #expect(backoff.whole == .zero)
        var other = Backoff(first: .seconds(1), most: .seconds(3))
        #expect(
            [0, 0.5, 0].map { other.failed(random: $0) }
                == [.milliseconds(500), .milliseconds(1500), .milliseconds(1500)])
    }

    @Test("any number of failures, and a first wait above the longest, stay within bounds")
    func bounds() {
        #expect(Backoff(first: .seconds(10), most: .seconds(3), failures: 1).whole == .seconds(3))
        #expect(Backoff(first: .seconds(3600), most: .seconds(86_400), failures: .max).whole == .seconds(86_400))
        #expect(Backoff(failures: -5).whole == .zero)
    }

    @Test("a cancelled task does not wait")
    func cancelled() async {
        let waiting = Task {
            var backoff = Backoff(first: .seconds(3600), most: .seconds(3600))
            return await backoff.wait()
        }
        waiting.cancel()
        #expect(await !waiting.value)
    }
}
