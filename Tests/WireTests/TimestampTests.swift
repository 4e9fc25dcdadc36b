import Foundation
import Testing
import Wire

@Suite("Times and durations")
struct TimestampTests {
    @Test("times in RFC 3339, as Foundation writes them")
    func written() {
        var times: [Int64] = [
            0, 1, 999, 1000, 951_782_399_000, 951_782_400_000, 951_868_799_999, 1_777_636_800_000, 4_102_444_799_000,
            -1, -1000, 253_402_300_799_000, Timestamp.range.upperBound,
        ]
        for _ in 0..<2000 { times.append(Int64.random(in: Timestamp.range)) }
        for time in times {
            let date = Date(timeIntervalSince1970: (Double(time) / 1000).rounded(.down))
            #expect(Timestamp.rfc3339Seconds(time) == date.formatted(.iso8601), "\(time)")
            #expect(Timestamp.epochMs(Timestamp.rfc3339Milliseconds(time)) == time, "\(time)")
        }
        #expect(Timestamp.rfc3339Milliseconds(1_438_286_400_007) == "2015-07-30T20:00:00.007Z")
        #expect(Timestamp.rfc3339Seconds(.max) == "9999-12-31T23:59:59Z")
        #expect(Timestamp.rfc3339Milliseconds(.min) == "0001-01-01T00:00:00.000Z")
    }

    @Test(
        "times of RFC 3339 are read",
        arguments: [
            ("1970-01-01T00:00:00Z", Int64(0)), ("2015-07-30T20:00:00Z", 1_438_286_400_000),
            ("2024-02-29T23:59:59Z", 1_709_251_199_000), ("2026-11-24T05:36:50.5Z", 1_795_498_610_500),
            ("2026-11-24T05:36:50.123456Z", 1_795_498_610_123), ("2015-07-30T20:00:00+00:00", 1_438_286_400_000),
        ])
    func rfc3339(text: String, milliseconds: Int64) {
        #expect(Timestamp.epochMs(text) == milliseconds)
    }

    @Test(
        "what is not such a time is nil",
        arguments: [
            "", "2015-07-30", "2015-07-30T20:00:00", "2015-13-30T20:00:00Z", "2015-07-30 20:00:00Z",
            "2015-07-30T24:00:00Z", "2015-07-30T20:00:00.Z", "xxxx-07-30T20:00:00Z", "2015-02-29T20:00:00Z",
        ])
    func notRFC3339(text: String) { #expect(Timestamp.epochMs(text) == nil) }

    @Test("the header Date is written and read")
    func httpDate() {
        #expect(Timestamp.httpDate(epochSeconds: 784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
        #expect(Timestamp.httpDate(epochSeconds: 0) == "Thu, 01 Jan 1970 00:00:00 GMT")
        #expect(Timestamp.epochSeconds(httpDate: "Sun, 06 Nov 1994 08:49:37 GMT") == 784_111_777)
        for bad in [
            "", "Sun, 06 Nov 1994 08:49 GMT", "06 Nov 1994 08:49:37 GMT", "Sun, 06 Nop 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET", "Sun, 06 Nov 1969 08:49:37 GMT",
        ] {
            #expect(Timestamp.epochSeconds(httpDate: bad) == nil, "\(bad)")
        }
        for _ in 0..<2000 {
            let seconds = Int64.random(in: 0...4_102_444_800)
            #expect(Timestamp.epochSeconds(httpDate: Timestamp.httpDate(epochSeconds: seconds)) == seconds)
        }
    }

    @Test("durations as whole numbers cut off the rest")
    func durations() {
        let duration = Duration(secondsComponent: 3, attosecondsComponent: 45_678_900_000_000_000)
        #expect(duration.wholeMilliseconds == 3045 && duration.wholeNanoseconds == 3_045_678_900)
        #expect(duration.inSeconds == 3.0456789 && abs(duration.inMilliseconds - 3045.6789) < 1e-9)
        #expect(Duration.milliseconds(-1).wholeMilliseconds == -1)
    }
}
