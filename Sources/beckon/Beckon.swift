import ArgumentParser
import AsyncHTTPClient
import Configuration
import Hummingbird

@main struct Beckon { static func main() {} }
