// A ball passes by: povray +Iball.pov +KFF24 +W160 +H90
#version 3.7;

global_settings { assumed_gamma 1.0 }

camera {
  location <0, 3, -9>
  look_at <0, 1, 0>
}

light_source { <6, 9, -6> rgb 1 }

plane {
  y, 0
  pigment { checker rgb 0.3 rgb 0.8 }
}

sphere {
  <6 * clock - 3, 1, 0>, 1
  pigment { rgb <0.9, 0.4, 0.1> }
  finish { specular 0.6 reflection 0.2 }
}
