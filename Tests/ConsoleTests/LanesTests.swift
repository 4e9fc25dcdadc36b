import Testing
import Wire

@testable import Console

@Suite("The lanes of a challenge")
struct LanesTests {
    private func lanes(_ json: String, nowMs: Int64 = 1_764_000_100_000) throws -> Lanes {
        Lanes(try JSONParser.parse(Array(json.utf8), .reply), nowMs: nowMs)
    }

    /// The example of docs/api.md, with a second attempt and a background push.
    private static let answered = """
        {"challenge_sid":"YC03","status":"approved","delivery":"received","timeline":[
          {"event":"created","date":"2025-11-24T16:00:00.000Z"},
          {"event":"dispatched","date":"2025-11-24T16:00:00.012Z","dispatch":"c"},
          {"event":"accepted","date":"2025-11-24T16:00:00.080Z","factor_sid":"YF03","dispatch":"c","kind":"visible","platform":"apn"},
          {"event":"accepted","date":"2025-11-24T16:00:00.081Z","factor_sid":"YF03","dispatch":"c","kind":"background","platform":"apn"},
          {"event":"refused","date":"2025-11-24T16:00:00.090Z","factor_sid":"YF04","dispatch":"c","kind":"visible","platform":"fcm","reason":"INTERNAL"},
          {"event":"dispatched","date":"2025-11-24T16:00:10.000Z","dispatch":"t1"},
          {"event":"accepted","date":"2025-11-24T16:00:10.050Z","factor_sid":"YF03","dispatch":"t1","kind":"visible","platform":"apn"},
          {"event":"received","date":"2025-11-24T16:00:11.400Z","factor_sid":"YF03","channel":"visible","shown":"yes","dispatch":"t1"},
          {"event":"approved","date":"2025-11-24T16:00:16.100Z","factor_sid":"YF03"}]}
        """

    @Test("there is a lane for each device and attempt, and none for the background push beside it")
    func perAttempt() throws {
        let lanes = try lanes(Self.answered)
        #expect(lanes.lanes.map { "\($0.factor) \($0.dispatch)" } == ["YF03 c", "YF04 c", "YF03 t1"])
        #expect(lanes.lanes.map(\.result) == ["accepted", "refused", "accepted"])
        func spans(_ index: Int) -> [String] {
            lanes.lanes[index].bars.map {
                "\($0.kind.rawValue) \($0.fromMs - lanes.createdAtMs)-\($0.toMs - lanes.createdAtMs)"
            }
        }
        #expect(spans(0) == ["running 12-80", "waiting 80-16100"], "the first push was never confirmed")
        #expect(spans(1) == ["running 12-90"], "a refused push waits for nothing")
        #expect(spans(2) == ["running 10000-10050", "waiting 10050-11400", "shown 11400-16100"])
        #expect(
            lanes.finding == "3 pushes to 2 devices; received after 11 s; approved after 16 s.", "\(lanes.finding)")
    }

    @Test("moments stand in their order between the two ends, and long stretches are compressed")
    func places() throws {
        let lanes = try lanes(Self.answered)
        let moments: [Int64] = [0, 12, 80, 90, 5000, 10_000, 10_050, 11_400, 16_100]
        let places = moments.map { lanes.place(lanes.createdAtMs + $0) }
        #expect(places == places.sorted() && Set(places).count == places.count, "\(places)")
        #expect(places.first == 0 && abs((places.last ?? 0) - 1) < 1e-9)
        #expect(places[2] > 0.03, "80 ms can be seen beside 16 s")
    }

    @Test("a pending challenge goes on until now")
    func pending() throws {
        let lanes = try lanes(
            """
            {"status":"pending","delivery":"accepted","timeline":[
              {"event":"created","date":"2025-11-24T16:00:00.000Z"},
              {"event":"accepted","date":"2025-11-24T16:00:01.000Z","factor_sid":"YF03","dispatch":"c","kind":"visible"}]}
            """, nowMs: 1_764_000_005_000)
        #expect(lanes.lanes.first?.bars.last?.toMs == 1_764_000_005_000)
        #expect(lanes.finding.hasSuffix("not confirmed by any device; still pending."))
    }

    @Test("a reply without events makes no lane and no trap")
    func empty() throws {
        for json in ["{}", #"{"timeline":[]}"#, #"{"timeline":[{"event":"accepted"},{"date":"x"}]}"#] {
            #expect(try lanes(json).lanes.isEmpty)
        }
    }
}
