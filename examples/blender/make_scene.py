"""Make a small scene for Cycles in which a ball passes by.

tailrace job plan blender make_scene.py --frames 1-24 --chunk-size 8 --output 'frame_####.png' --to job.json
blender --background --factory-startup --python make_scene.py -- scene.blend
"""

import sys
from pathlib import Path

import bpy  # type: ignore[import-not-found]

FRAMES = 24


def main() -> None:
    """Make the scene, and save it in the file that follows "--", if there is one."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end = 1, FRAMES
    add_objects(scene)
    scene.render.engine = "CYCLES"
    scene.render.resolution_x, scene.render.resolution_y = 160, 90
    scene.render.image_settings.file_format = "PNG"
    scene.cycles.device = "CPU"
    scene.cycles.samples = 32
    # Not every build of Blender has a denoiser.
    scene.cycles.use_denoising = False
    if "--" in sys.argv:
        bpy.ops.wm.save_as_mainfile(filepath=str(Path(sys.argv[-1]).absolute()))


def add_objects(scene: "bpy.types.Scene") -> None:
    """Add a floor, a ball that moves from left to right, a lamp, and a camera that looks at them."""
    bpy.ops.mesh.primitive_plane_add(size=30)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=24, ring_count=12, location=(-3, 0, 1))
    ball = bpy.context.object
    ball.keyframe_insert("location", frame=1)
    ball.location.x = 3
    ball.keyframe_insert("location", frame=FRAMES)
    bpy.ops.object.light_add(type="SUN", rotation=(0.6, 0.3, 0))
    bpy.context.object.data.energy = 3
    bpy.ops.object.camera_add(location=(0, -9, 3), rotation=(1.35, 0, 0))
    scene.camera = bpy.context.object


if __name__ == "__main__":
    main()
