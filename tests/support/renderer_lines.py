"""Lines that renderers print, as their documentation, their sources and parsers of others have them."""

from __future__ import annotations

from tailrace.progress import FileSaved, FrameRendered, Progress, RenderError, Report

MIB = 2**20

LINES: dict[str, list[tuple[str, Report | None]]] = {
    "blender": [
        ("Blender 4.1.0", None),
        (
            "Fra:12 Mem:49.06M (Peak 49.60M) | Time:00:27.91 | Sample 32/128",
            Progress(frame=12, frame_fraction=0.25, memory=int(49.06 * MIB), status="Sample"),
        ),
        (
            "Fra:12 Mem:49.00M (Peak 49.60M) | Time:00:27.91 | Remaining:00:08.10 | Mem:1.5M, Peak:1.5M |"
            " Scene, ViewLayer | Sample 32/96",
            Progress(frame=12, frame_fraction=1 / 3, remaining=8.1, memory=49 * MIB, status="Sample"),
        ),
        (
            "Fra:125 Mem:12.00M (0.00M, Peak 14.83M) | Time:00:00.13 | Remaining:00:00.14 | Mem:0.71M, Peak:1.20M |"
            " Lines, RenderLayer | Path Tracing Tile 4/16, Sample 10/10",
            Progress(frame=125, frame_fraction=0.25, remaining=0.14, memory=12 * MIB, status="Path Tracing Tile"),
        ),
        (
            "Fra:7 Mem:10.00M (Peak 12.00M) | Time:01:02.00 | Rendered 136/272 Tiles",
            Progress(frame=7, frame_fraction=0.5, memory=10 * MIB, status="Rendered"),
        ),
        (
            "Fra:7 Mem:10.00M (Peak 12.00M) | Time:01:02.00 | Rendering 4 / 16 samples",
            Progress(frame=7, frame_fraction=0.25, memory=10 * MIB, status="Rendering"),
        ),
        (
            "Fra:-3 Mem:8.00M (Peak 10.19M) | Time:00:00.00 | Mem:0.00M, Peak:0.00M | Scene, ViewLayer |"
            " Synchronizing object | Cube 2/3",
            Progress(frame=-3, memory=8 * MIB, status="Cube 2/3"),
        ),
        ("Saved: '/p/it's f_0012.exr'", FileSaved("/p/it's f_0012.exr")),
        (" Time: 00:01.06 (Saving: 00:00.13)", None),
        ("Append frame 12", FrameRendered(12, None)),
        ('Skipping existing frame "/p/f_0013.exr"', None),
        (
            "00:03.413  render           | Fra: 1 | Remaining: 01:43.73 | Mem: 1699M | Sample 1/128",
            Progress(frame=1, frame_fraction=1 / 128, remaining=60 + 43.73, memory=1699 * MIB, status="Sample"),
        ),
        (
            "00:03.413  render           | Fra: 1 | Mem: 1699M",
            Progress(frame=1, memory=1699 * MIB),
        ),
        ("Fra: 1 | Rendering 8 / 16 samples", Progress(frame=1, frame_fraction=0.5, status="Rendering")),
        ("00:05.001  render           | Saved: '/p/f_0001.png'", FileSaved("/p/f_0001.png")),
        (
            "00:00.812  reports          | ERROR Cannot render, no camera",
            RenderError("00:00.812  reports          | ERROR Cannot render, no camera", "scene", True),
        ),
        ("Error: Cannot render, no camera", RenderError("Error: Cannot render, no camera", "scene", True)),
        (
            "Error: Cannot read file '/p/none.blend': No such file or directory",
            RenderError("Error: Cannot read file '/p/none.blend': No such file or directory", "missing_asset", True),
        ),
        (
            "Error: Build without OpenImageDenoiser",
            RenderError("Error: Build without OpenImageDenoiser", "scene", True),
        ),
        (
            "Error: System is out of GPU and shared host memory",
            RenderError("Error: System is out of GPU and shared host memory", "memory", True),
        ),
        (
            "Error: Out of memory in CUDA queue enqueue (integrator_shade_surface)",
            RenderError(
                "Error: Out of memory in CUDA queue enqueue (integrator_shade_surface)",
                "memory",
                True,
            ),
        ),
        (
            'Error: Python: OSError: Python file "/p/none.py" could not be opened: No such file or directory',
            RenderError(
                'Error: Python: OSError: Python file "/p/none.py" could not be opened: No such file or directory',
                "missing_asset",
                False,
            ),
        ),
        (
            "Error: script failed, file: 'none.py', exiting.",
            RenderError("Error: script failed, file: 'none.py', exiting.", "scene", True),
        ),
        (
            "Info: Cannot find lib '/p/lib.blend'",
            RenderError("Info: Cannot find lib '/p/lib.blend'", "missing_asset", False),
        ),
        (
            "Warning: Path '/p/it's wood.png' not found",
            RenderError("Warning: Path '/p/it's wood.png' not found", "missing_asset", False),
        ),
        (
            "00:00.512  reports          | WARNING Path '/p/wood.png' not found, from local data-block 'IMwood'",
            RenderError(
                "00:00.512  reports          | WARNING Path '/p/wood.png' not found, from local data-block 'IMwood'",
                "missing_asset",
                False,
            ),
        ),
        ("Info: No missing files", None),
        (
            "scripts disabled for \"/p/a.blend\", skipping 'rig.py'",
            RenderError("scripts disabled for \"/p/a.blend\", skipping 'rig.py'", "scene", False),
        ),
        (
            "\tBPY_driver_exec: restricted access disallows name 'turn', enable auto-execution to support",
            RenderError(
                "BPY_driver_exec: restricted access disallows name 'turn', enable auto-execution to support",
                "scene",
                False,
            ),
        ),
        (
            "Error in PyDriver: expression failed: turn(frame)",
            RenderError("Error in PyDriver: expression failed: turn(frame)", "scene", False),
        ),
        (
            "Error: Render error (Invalid argument) cannot save: '/p/f_0001.png'",
            RenderError("Error: Render error (Invalid argument) cannot save: '/p/f_0001.png'", None, True),
        ),
        ("AttributeError: module 'bpy' has no attribute 'foo'", None),
    ],
    "ffmpeg": [
        ("ffmpeg version 7.0.2-static Copyright (c) 2000-2024 the FFmpeg developers", None),
        ("  Duration: 00:01:40.00, start: 0.000000, bitrate: 45 kb/s", None),
        ("  Duration: N/A, start: 0.000000, bitrate: N/A", None),
        (
            "frame=  100 fps= 25 q=28.0 size=     256KiB time=00:00:04.00 bitrate= 524.3kbits/s speed=1.2x    ",
            Progress(frame=100, frames_done=100),
        ),
        (
            "frame=    0 fps=0.0 q=0.0 size=       0KiB time=N/A bitrate=N/A speed=N/A    ",
            Progress(frame=0, frames_done=0),
        ),
        (
            "frame=   50 fps=0.0 q=-1.0 Lsize=      13KiB time=00:00:01.92 bitrate=  55.3kbits/s speed=22.5x",
            Progress(frame=50, fraction=1.0, frames_done=50),
        ),
        ("size=     512KiB time=00:00:50.00 bitrate= 128.0kbits/s speed=  40x", None),
        ("frame=25", Progress(frame=25, frames_done=25)),
        ("fps=25.00", None),
        ("out_time_us=1920000", None),
        ("out_time=00:00:01.920000", None),
        ("progress=continue", None),
        ("progress=end", Progress(fraction=1.0)),
        (
            "Error opening input files: No such file or directory",
            RenderError("Error opening input files: No such file or directory", "missing_asset", True),
        ),
        (
            "none.mp4: No such file or directory",
            RenderError("none.mp4: No such file or directory", "missing_asset", False),
        ),
        (
            "Error opening output /none/x.mp4: No such file or directory",
            RenderError("Error opening output /none/x.mp4: No such file or directory", None, True),
        ),
        (
            "a.pov: Invalid data found when processing input",
            RenderError("a.pov: Invalid data found when processing input", "scene", False),
        ),
        ("Unknown encoder 'nocodec'", RenderError("Unknown encoder 'nocodec'", "scene", True)),
        (
            "Error splitting the argument list: Option not found",
            RenderError("Error splitting the argument list: Option not found", "scene", True),
        ),
        ("    title           : The Filter not found", None),
        (
            "[AVFilterGraph @ 0x55ba800a1880] No such filter: 'foo'",
            RenderError("[AVFilterGraph @ 0x55ba800a1880] No such filter: 'foo'", "scene", True),
        ),
        (
            "[out#0/avi @ 0x5588f0e07300] Error writing trailer: Broken pipe",
            RenderError("[out#0/avi @ 0x5588f0e07300] Error writing trailer: Broken pipe", None, True),
        ),
        (
            "Error initializing the muxer for a.xyz: Invalid argument",
            RenderError("Error initializing the muxer for a.xyz: Invalid argument", "scene", False),
        ),
    ],
    "povray": [
        ("Persistence of Vision(tm) Ray Tracer Version 3.7.0.10.unofficial (g++ @", None),
        ("Rendering frame 2 of 8", Progress(frame=2, fraction=1 / 8)),
        ("Rendering frame 2 of 4 (#6)", Progress(frame=6, fraction=0.25)),
        ("==== [Rendering...] ========================================================", Progress(status="Rendering")),
        ("Rendered 1024 of 4096 pixels (25%)", Progress(frame_fraction=0.25)),
        ("Rays:               3072   Saved:                 0   Max Level: 1/5", None),
        (
            "File 'bad.pov' line 6: Parse Error: Expected 'numeric expression', undeclared",
            RenderError("File 'bad.pov' line 6: Parse Error: Expected 'numeric expression', undeclared", "scene", True),
        ),
        (
            "Parse Error: Cannot open input file.",
            RenderError("Parse Error: Cannot open input file.", "missing_asset", True),
        ),
        (
            "File 'a.pov' line 5: Possible Parse Error: Cannot find file 'nope.png', even",
            RenderError(
                "File 'a.pov' line 5: Possible Parse Error: Cannot find file 'nope.png', even", "missing_asset", False
            ),
        ),
        (
            "Fatal error in parser: Cannot parse input.",
            RenderError("Fatal error in parser: Cannot parse input.", None, True),
        ),
        ("POV-Ray finished", Progress(fraction=1.0)),
    ],
    "arnold": [
        ("00:00:00   773MB         | Arnold 7.2.3.1 [6f30e43d] linux x86_64 clang-15.0.7", None),
        ("12:34:56      32MB   |   45% done - 23 rays/pixel", Progress(frame_fraction=0.45, memory=32 * MIB)),
        ("00:00:02   267MB         | starting 32 bucket workers of size 64x64 ...", None),
        ("00:00:00   773MB         | [mtoa.session]     Initializing at frame 12.000000", Progress(frame=12)),
        (
            "00:00:09   301MB         | [driver_exr] writing file `/p/f.0049.exr'",
            FileSaved("/p/f.0049.exr"),
        ),
        ("00:00:09   301MB         | peak CPU memory used          512.50MB", Progress(memory=int(512.5 * MIB))),
        (
            "00:00:00    12MB ERROR   | [ass] can't open /p/none.ass",
            RenderError("00:00:00    12MB ERROR   | [ass] can't open /p/none.ass", "missing_asset", False),
        ),
        (
            "00:00:02   294MB ERROR   |  [texturesys] image1: Invalid image file",
            RenderError("00:00:02   294MB ERROR   |  [texturesys] image1: Invalid image file", "missing_asset", False),
        ),
        (
            "00:00:00     9MB WARNING | [rlm] error initializing license system",
            RenderError("00:00:00     9MB WARNING | [rlm] error initializing license system", "licence", False),
        ),
        (
            "ERROR | aborting render because the abort_on_license_fail option was enabled",
            RenderError(
                "ERROR | aborting render because the abort_on_license_fail option was enabled", "licence", True
            ),
        ),
        (
            "aborting render because this is a batch render and abort_on_license_fail option is enabled",
            RenderError(
                "aborting render because this is a batch render and abort_on_license_fail option is enabled",
                "licence",
                True,
            ),
        ),
        ("[rlm] abort_on_license_fail enabled", RenderError("[rlm] abort_on_license_fail enabled", "licence", True)),
        ("+ kick -set options.abort_on_license_fail on -i a.ass", None),
        (
            "00:00:00     9MB WARNING | rendering with watermarks because of failed authorization:",
            RenderError(
                "00:00:00     9MB WARNING | rendering with watermarks because of failed authorization:",
                "licence",
                False,
            ),
        ),
        (
            "00:00:02   279MB WARNING | [kick] render aborted due to earlier errors",
            RenderError("00:00:02   279MB WARNING | [kick] render aborted due to earlier errors", None, True),
        ),
        (
            "00:00:02   279MB ERROR   | signal caught: SIGABRT -- Abnormal process abort",
            RenderError("00:00:02   279MB ERROR   | signal caught: SIGABRT -- Abnormal process abort", None, True),
        ),
    ],
    "vray": [
        ("V-Ray Standalone EDU, version 3.10.01 for x64, V-Ray core version is 3.25.01", None),
        ("[2021/Jul/8|06:41:38] Starting frame 7", Progress(frame=7)),
        ("[2021/Jul/8|06:41:38] Rendering image...:  12.50% ", Progress(frame_fraction=0.125)),
        ("[2021/Jul/8|06:41:38] Rendering image...: done [  0h  0m  2.3s]", Progress(frame_fraction=1.0)),
        (
            '[2021/Jul/8|06:41:39] [2117 MB] Successfully written image file "/p/blue fur.exr"',
            FileSaved("/p/blue fur.exr"),
        ),
        (
            "error: Could not obtain a license (-97).",
            RenderError("error: Could not obtain a license (-97).", "licence", True),
        ),
        (
            "ERR: [03840] [V-Ray] Could not obtain a license (-88): Chaos Unified Login is not running",
            RenderError(
                "ERR: [03840] [V-Ray] Could not obtain a license (-88): Chaos Unified Login is not running",
                "licence",
                True,
            ),
        ),
        ("Memory allocation failure;", RenderError("Memory allocation failure;", "memory", False)),
        (
            'No file "/p/none.vrscene" exists',
            RenderError('No file "/p/none.vrscene" exists', "missing_asset", False),
        ),
        (
            "[2021/Jul/8|06:41:39] error: Invalid parameter",
            RenderError("[2021/Jul/8|06:41:39] error: Invalid parameter", None, False),
        ),
    ],
    "redshift": [
        ("[Redshift] Rendering frame 5 (1/10)", Progress(frame=5, fraction=0.0)),
        ("[Redshift] Rendering frame 12...", Progress(frame=12)),
        ("[Redshift] Block 32/48 (7,4) rendered by GPU 0 in 2ms", Progress(frame_fraction=32 / 48)),
        ("[Redshift] \tBlock 12/48 (7,5) rendered by GPU 1 in 12ms", Progress(frame_fraction=0.25)),
        ("[Redshift] License error: (-17)", RenderError("[Redshift] License error: (-17)", "licence", True)),
        (
            "[Redshift] Maxon licensing error: User not logged in (7)",
            RenderError("[Redshift] Maxon licensing error: User not logged in (7)", "licence", True),
        ),
        (
            "[Redshift] Rendering was internally aborted",
            RenderError("[Redshift] Rendering was internally aborted", None, True),
        ),
        (
            "[Redshift] No devices found. Aborting rendering.",
            RenderError("[Redshift] No devices found. Aborting rendering.", None, True),
        ),
        (
            "[Redshift] cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY",
            RenderError("[Redshift] cuMemAlloc failed: CUDA_ERROR_OUT_OF_MEMORY", "memory", False),
        ),
    ],
    "karma": [
        ("[17:07:17] husk version 19.5.569", None),
        ("ALF_PROGRESS 50%", Progress(frame_fraction=0.5)),
        ("ALF_PROGRESS 77.5", Progress(frame_fraction=0.775)),
        ("Generating Image: /p/shot.v002.0012.exr (640x480)", Progress(frame=12)),
        ("21:17:04  rop_usdrender frame 5", Progress(frame=5)),
        ("Render Time: 1.39u 0.02s 0.36r", Progress(frame_fraction=1.0)),
        ("Peak Memory Usage: 1.50 GB", Progress(memory=3 * 2**29)),
        (
            "No licenses could be found to run this application.",
            RenderError("No licenses could be found to run this application.", "licence", True),
        ),
        (
            "mantra: Unable to load texture '/p/none.rat'",
            RenderError("mantra: Unable to load texture '/p/none.rat'", "missing_asset", False),
        ),
        ("Failed to create file /p/f.exr", RenderError("Failed to create file /p/f.exr", None, False)),
    ],
    "nuke": [
        ("Nuke 14.0v3, 64 bit, built Feb 16 2023.", None),
        ("Writing /p/my comp.0012.exr took 1.23 seconds", FileSaved("/p/my comp.0012.exr")),
        ("Writing /p/my comp.0013.exr", None),
        ("Frame 12 (3 of 10)", FrameRendered(12, None)),
        ("A license for nuke was not found", RenderError("A license for nuke was not found", "licence", True)),
        (
            "RLM : A suitable license does not exist.",
            RenderError("RLM : A suitable license does not exist.", "licence", False),
        ),
        ("A license for ocula was not found", RenderError("A license for ocula was not found", "licence", False)),
        ("Node execution error: Blur1", RenderError("Node execution error: Blur1", None, False)),
        (
            "ERROR: Read1: /p/none.exr: No such file or directory",
            RenderError("ERROR: Read1: /p/none.exr: No such file or directory", "missing_asset", False),
        ),
        ("ERROR: Write1: no channels", RenderError("ERROR: Write1: no channels", None, False)),
    ],
    "renderman": [
        ("R90000   45%", Progress(frame_fraction=0.45)),
        ('Writing "/p/f.0001.exr" (mode = rgba, type = openexr)', FileSaved("/p/f.0001.exr")),
        (
            "A70001 {SEVERE}  License error: no licence",
            RenderError("A70001 {SEVERE}  License error: no licence", "licence", True),
        ),
        (
            "T02001 {SEVERE} cannot go on",
            RenderError("T02001 {SEVERE} cannot go on", None, False),
        ),
        (
            'X00002 {ERROR}   Plugin error: PxrTexture could not open "none.tex"',
            RenderError('X00002 {ERROR}   Plugin error: PxrTexture could not open "none.tex"', "missing_asset", False),
        ),
        (
            "X00003 {WARNING} Plugin warning: PxrImageDisplayFilter: Could not acquire texture 'none.tex'",
            RenderError(
                "X00003 {WARNING} Plugin warning: PxrImageDisplayFilter: Could not acquire texture 'none.tex'",
                "missing_asset",
                False,
            ),
        ),
        (
            "R10043 {WARNING} ishouldnotexport, unknown or mismatched input parameter of PxrImageDisplayFilter (f2).",
            None,
        ),
    ],
    "maya": [
        ("[PROGRESS] 45 percent", Progress(frame_fraction=0.45)),
        ("12:34:56      32MB   |   45% done - 23 rays/pixel", Progress(frame_fraction=0.45, memory=32 * MIB)),
        ("R90000   50%", Progress(frame_fraction=0.5)),
        (
            "Fatal Error. Attempting to save in /tmp/x.ma",
            RenderError("Fatal Error. Attempting to save in /tmp/x.ma", None, True),
        ),
        ("Frame aborted", RenderError("Frame aborted", None, True)),
        ("[rlm] abort_on_license_fail enabled", RenderError("[rlm] abort_on_license_fail enabled", "licence", True)),
        ("setAttr defaultArnoldRenderOptions.abort_on_license_fail 1;", None),
        ("stop on Fatal Error, yes", None),
        (
            "Error: line 1: No object matches name: none",
            RenderError("Error: line 1: No object matches name: none", None, False),
        ),
        (
            "error: Could not obtain a license (-97).",
            RenderError("error: Could not obtain a license (-97).", "licence", True),
        ),
    ],
    "cinema4d": [
        ("Rendering frame 12 at <Tue Nov 24 13:40:22 2026>", Progress(frame=12)),
        ("Progress: 50%", Progress(frame_fraction=0.5)),
        ("Rendering successful: 12.3 sec.", Progress(fraction=1.0)),
        ("Asset missing: tex/none.png", RenderError("Asset missing: tex/none.png", "missing_asset", False)),
        (
            "Files cannot be written - please check output paths!",
            RenderError("Files cannot be written - please check output paths!", None, True),
        ),
    ],
    "aftereffects": [
        ("PROGRESS:  0:00:00:12 (12): 0 Seconds", Progress(frame=12, frames_done=12)),
        (
            "PROGRESS:  4/30/2019 1:59:13 AM: Starting composition main.",
            Progress(status="4/30/2019 1:59:13 AM: Starting composition main."),
        ),
        (
            "aerender ERROR: No comp was found with the given name.",
            RenderError("aerender ERROR: No comp was found with the given name.", "scene", True),
        ),
        (
            "aerender ERROR -1701: AEGetParamPt failed at line 780",
            RenderError("aerender ERROR -1701: AEGetParamPt failed at line 780", None, True),
        ),
        (
            "WARNING:After Effects warning: some layers have missing dependencies.",
            RenderError(
                "WARNING:After Effects warning: some layers have missing dependencies.", "missing_asset", False
            ),
        ),
    ],
    "openjd": [
        ("openjd_progress: 42.5", Progress(fraction=0.425)),
        ("openjd_status: Loading the scene", Progress(status="Loading the scene")),
        ("openjd_fail: disk full", RenderError("openjd_fail: disk full", None, True)),
        ("openjd_env: A=B", None),
    ],
    "generic": [
        ("PROGRESS: 45%", Progress(fraction=0.45)),
        ("step two, 12.5 % of it", Progress(fraction=0.125)),
        ("3/10 frames", Progress(fraction=0.3, frames_done=3)),
        ("12,5 %", Progress(fraction=0.125)),
        ("Fortschritt: 12,5\u00a0% von 1,5 GB", Progress(fraction=0.125)),
        ("Progress: 250%", Progress(fraction=1.0)),
        (
            "terminate called after throwing an instance of 'std::bad_alloc'",
            RenderError("terminate called after throwing an instance of 'std::bad_alloc'", "memory", False),
        ),
        ("MemoryError", RenderError("MemoryError", "memory", False)),
        ("mmap: Cannot allocate memory", RenderError("mmap: Cannot allocate memory", "memory", False)),
        ("CUDA error: Out of memory", RenderError("CUDA error: Out of memory", "memory", False)),
    ],
}
"""By renderer: each line, and what it is when it is the first thing printed."""
